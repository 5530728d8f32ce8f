/* The engine in C: the Value and the sumprod of engine.py, in its order where C allows it.

   Lay the two files side by side. What differs is what a Value is made of: one block of 80 bytes,
   with C doubles in place of Python floats and, on what operators make, without a header for the
   garbage collector, which a graph does not need: operands are older than the node that they go
   into, so there is no cycle, and reference counts free everything. (Own attributes can make a
   cycle through such a node. It stays in memory.) What the constructor makes with operands, and
   every instance of a subclass, may be part of a closure's cycle, and so has a header; and what is
   made of such a node has one, lest it hides the cycles below it from the collector.

   Where Python's floats raise an exception, this file calls them, to raise the same one. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if FLT_EVAL_METHOD == 2 || defined __FAST_MATH__
#error "these options of the compiler would change the last bits"
#endif

typedef struct Value {
    PyObject_HEAD
    union {
        struct Value *a;   /* the first operand, or NULL in a leaf */
        struct Many *many; /* all of them, if MANY */
    };
    struct Value *b;       /* the second operand, or NULL */
    union {
        double grad;
        struct Value *next; /* on the path of backward(), and among the dead */
    };
    uintptr_t op;          /* the operation: a number below, or else its name; and three bits */
    double da, db;         /* the slopes */
    double data;
#if PY_VERSION_HEX >= 0x030E0000
    void *later;           /* Python writes 16 bytes before the next node, to put its death off */
#endif
    PyObject *own;         /* the __dict__ of own attributes, or NULL */
} Value;

/* The operands of what the constructor makes: any number of them, with slopes or without. */
typedef struct Many {
    Py_ssize_t size, slopes, seen;  /* how many; `seen` by backward() */
    struct {Value *x; double slope;} edge[];
} Many;

enum {VISITED = 1, BARE = 2, MANY = 4, BITS = 7};  /* BARE: without the collector's header */
enum {NO_OP, ADD, SUB, MUL, DIV, POW, POWER_OF, NEG, RELU, EXP, LOG, TANH, SIGMOID, LABEL, BACKWARD,
      NAMES};
static PyObject *names[NAMES];    /* of operations and attributes: kept for ever, so not counted */
static PyTypeObject *Value_Type;
static PyObject *Real, *nothing;  /* numbers.Real; the empty tuple */
static PyObject *step_method;     /* what Value has as _backward, unless somebody replaces it */

/* The operand number i, or NULL. */
static inline Value *operand_of(const Value *v, Py_ssize_t i)
{
    if (v->op & MANY) return i < v->many->size ? v->many->edge[i].x : NULL;
    return i == 0 ? v->a : i == 1 ? v->b : NULL;
}

#define OP(number) ((uintptr_t)(number) << 3)
#define NAME(v) ((v)->op < OP(NAMES) ? NULL : (PyObject *)((v)->op & ~(uintptr_t)BITS))
#define NEW_REF(v) ((Value *)Py_NewRef((PyObject *)(v)))
#define IS_PLAIN(x) Py_IS_TYPE(x, Value_Type)  /* a Value, of no subclass */
#define MARK(v, bit) ((v)->op |= (uintptr_t)bit)
#define UNMARK(v, bit) ((v)->op &= ~(uintptr_t)bit)
#define IS_VALUE(x) (IS_PLAIN(x) || (!PyFloat_CheckExact(x) && !PyLong_CheckExact(x) \
                                     && PyObject_TypeCheck(x, Value_Type)))

/* Memory for nodes. A page is filled from its start to its end, so that neighbours in a graph are
   neighbours in memory, step after step: first pages on which all nodes are dead, then the holes
   on those where at least half are. (In a hole, the type is NULL.) Only then the system is asked
   for another page. An emptied page goes back to it if there are `keep` empty ones already; they
   become one more for each page that is missed later, so that what a training step needs is there
   for the next one, and what was needed once is not kept; and fewer again by those that lie idle
   while twice as many are taken (a backward() counts like one). */
#ifndef PAGE
#define PAGE 262144
#endif
#if PAGE
typedef struct Page {
    struct Page *before, *after;  /* in one of the two rings below, unless it is fuller */
    void *block;                  /* what the system gave, twice as large, to find a PAGE in */
    int used;                     /* nodes that live, or are next in turn */
    void *later[2];               /* as in a Value */
    Value nodes[];
} Page;
enum {NODES = (PAGE - sizeof(Page)) / sizeof(Value), KEEP = 16};

static Page empty = {&empty, &empty, NULL, 0, {0}}, half = {&half, &half, NULL, 0, {0}};
static Page *page;         /* the one that is being filled, */
static Value *next, *end;  /* from where to where */
static int keep = KEEP, spare, idle, missed, taken;
static PyObjectArenaAllocator arena;

static void link_in(Page *p, Page *ring)
{
    p->before = ring;
    p->after = ring->after;
    p->before->after = p->after->before = p;
}

static void unlink_from(Page *p)
{
    p->before->after = p->after;
    p->after->before = p->before;
}

static void give_back(Page *p)
{
    unlink_from(p);
    arena.free(arena.ctx, p->block, 2 * PAGE);
    spare--;
}

static void now_empty(Page *p)
{
    link_in(p, &empty);
    if (spare++ < keep) return;
    give_back(p);
    missed++;
}

static void count_for_idle(void)
{
    if (++taken <= 2 * keep) return;
    for (taken = 0; idle && keep > KEEP; idle--, keep--) give_back(empty.before);
    idle = spare;
}

/* The next nodes: more room in this page, or another page. */
static int turn(void)
{
    if (page) {
        Value *stop = page->nodes + NODES;
        for (next = end; next < stop && Py_TYPE(next); next++) {}
        for (end = next; end < stop && !Py_TYPE(end); end++) {}
        page->used += (int)(end - next);
        if (next < end) return 0;
        if (!page->used) now_empty(page);
        else if (page->used <= NODES / 2) link_in(page, &half);
    }
    if ((page = empty.after) != &empty) {
        unlink_from(page);
        if (--spare < idle) idle = spare;
        count_for_idle();
    }
    else if ((page = half.after) != &half) {
        unlink_from(page);
        end = page->nodes;
        return turn();
    }
    else {
        PyObject_GetArenaAllocator(&arena);
        void *block = arena.alloc(arena.ctx, 2 * PAGE);
        page = block ? (Page *)(((uintptr_t)block + PAGE - 1) & ~(uintptr_t)(PAGE - 1)) : NULL;
        next = end = NULL;
        if (!page) return -1;
        page->block = block;
        if (missed) missed--, keep++;
    }
    page->used = NODES;
    next = page->nodes;
    end = next + NODES;
    return 0;
}

static inline Value *take(void) { return next == end && turn() ? NULL : next++; }

static inline void give(Value *v)
{
    if (v + 1 == next) {  /* the last one to be taken is the next one again */
        next = v;
        return;
    }
    Page *p = (Page *)((uintptr_t)v & ~(uintptr_t)(PAGE - 1));
    Py_SET_TYPE((PyObject *)v, NULL);
    p->used--;
    if (p == page) return;
    if (p->used == NODES / 2) link_in(p, &half);
    else if (!p->used) {
        unlink_from(p);
        now_empty(p);
    }
}
#else  /* for the sanitizers, from which pages would hide what is in them */
static Value *take(void) { return PyObject_Malloc(sizeof(Value)); }
static void give(Value *v) { PyObject_Free(v); }
static void count_for_idle(void) {}
#endif

static PyObject fresh;  /* the head of a new plain Value */

/* PyObject_Init without its calls, a tenth of a small graph's time; in a debug build, with them. */
#if defined Py_REF_DEBUG || defined Py_TRACE_REFS
#define DEBUG 1
#define INIT(v) PyObject_Init((PyObject *)(v), Value_Type)
#else
#define DEBUG 0
#define INIT(v) (*(PyObject *)(v) = fresh, Py_INCREF(Value_Type))
#endif

/* A node that may be part of a cycle, and so is known to the collector. */
#define IS_TRACKED(x) ((x) && !((x)->op & BARE) && (x)->a)

/* A new node, or NULL and MemoryError. The references to a and b become its own, either way. If one
   is tracked, the collector may run first, and any Python code with it. */
static inline PyObject *make(double data, int op, Value *a, double da, Value *b, double db)
{
    int tracked = IS_TRACKED(a) || IS_TRACKED(b);
    Value *out = tracked ? (Value *)Value_Type->tp_alloc(Value_Type, 0) : take();
    if (!out) return Py_XDECREF(a), Py_XDECREF(b), PyErr_NoMemory();
    if (!tracked) INIT(out);
    out->data = data;
    out->grad = 0.0;
    out->op = OP(op) | (tracked ? 0 : BARE);
    out->a = a;
    out->da = da;
    out->b = b;
    out->db = db;
    out->own = NULL;
    return (PyObject *)out;
}

/* `good`, or 0 and a TypeError that names what x is. */
static int check(int good, const char *expected, PyObject *x)
{
    PyObject *name = good ? NULL : PyType_GetName(Py_TYPE(x));
    if (name) PyErr_Format(PyExc_TypeError, "expected a %s, not %U", expected, name);
    Py_XDECREF(name);
    return good;
}

/* Whether x is a number; -1 and an exception where asking fails. */
static inline int is_number(PyObject *x)
{
    return PyFloat_Check(x) || PyLong_Check(x) ? 1 : PyObject_IsInstance(x, Real);
}

/* float(x) of a number; 0, or -1 and an exception. */
static inline int to_double(PyObject *x, double *out)
{
    double number = PyLong_CheckExact(x) ? PyLong_AsDouble(x) : PyFloat_AsDouble(x);
    if (number == -1.0 && PyErr_Occurred()) return -1;
    *out = number;
    return 0;
}

/* The same of anything, with a TypeError for what is no number. */
static inline int real(PyObject *x, double *out)
{
    int number = is_number(x);
    return number > 0 ? to_double(x, out) : number ? -1 : check(0, "real number", x) - 1;
}

/* A new reference to x, or to the leaf that a number becomes; NULL alone where x is neither. */
static inline Value *operand(PyObject *x)
{
    double data;
    if (IS_VALUE(x)) return NEW_REF(x);
    return is_number(x) <= 0 || to_double(x, &data) ? NULL
        : (Value *)make(data, NO_OP, NULL, 0.0, NULL, 0.0);
}

static PyObject *unknown(void) { return PyErr_Occurred() ? NULL : Py_NewRef(Py_NotImplemented); }

/* What a rule computes: the number and the slopes. */
typedef struct {double out, da, db;} Step;

static inline PyObject *apply(int (*rule)(double, double, Step *), int op,
                              PyObject *x, PyObject *y)
{
    Step s;
    Value *a = operand(x), *b = a ? operand(y) : NULL;
    if (b && !rule(a->data, b->data, &s)) return make(s.out, op, a, s.da, b, s.db);
    PyObject *out = b ? NULL : unknown();
    Py_XDECREF(a);
    Py_XDECREF(b);
    return out;
}

/* Python's own function of x, or of x and y: for its exceptions. */
static int by_python(const char *module, const char *function, const char *format,
                     double x, double y, double *out)
{
    PyObject *m = PyImport_ImportModule(module);
    PyObject *z = m ? PyObject_CallMethod(m, function, format, x, y) : NULL;
    Py_XDECREF(m);
    if (z) *out = PyFloat_AsDouble(z);
    Py_XDECREF(z);
    return PyErr_Occurred() ? -1 : 0;
}

static int add(double a, double b, Step *s) { *s = (Step){a + b, 1.0, 1.0}; return 0; }
static int sub(double a, double b, Step *s) { *s = (Step){a - b, 1.0, -1.0}; return 0; }
static int mul(double a, double b, Step *s) { *s = (Step){a * b, b, a}; return 0; }

static int divide(double a, double b, Step *s)
{
    *s = (Step){a / b, 1.0 / b, -(a / b) / b};
    return b == 0.0 ? by_python("operator", "truediv", "dd", a, b, &s->out) : 0;
}

/* Through a pointer, so that no compiler makes of pow(x, -1) a division: Python calls pow. */
static double (*volatile to_the_power)(double, double) = pow;

/* x**k and its slopes, k*x**(k-1) and x**k*log(x); where k or x is 0, PyTorch's limits. */
static int power(double x, double k, Step *s)
{
    int finite = isfinite(x) && isfinite(k);
    if (finite && x < 0.0 && k != floor(k)) {  /* Python's answer is complex */
        PyErr_SetString(PyExc_ValueError, "a negative number to a fractional power");
        return -1;
    }
    s->out = to_the_power(x, k);
    s->da = k == 0.0 ? 0.0 : k == 2.0 ? 2.0 * x : k * to_the_power(x, k - 1.0);
    s->db = x == 0.0 && k >= 0.0 ? 0.0 : s->out * (x > 0.0 ? log(x) : x == 0.0 ? -INFINITY : NAN);
    return isfinite(s->out) || !finite ? 0 : by_python("operator", "pow", "dd", x, k, &s->out);
}

/* With a number on the left, Python calls the slot as well: then the method decides that Value has
   by now, as in engine.py. If it is not this function, somebody has replaced it. */
#define IN_USE(slot, f) (Value_Type->tp_as_number->slot == f)

static PyObject *reflected(const char *method, PyObject *x, PyObject *y)
{
    Value *a = operand(x);
    if (!a) return unknown();
    PyObject *out = PyObject_CallMethod((PyObject *)Value_Type, method, "OO", a, y);
    Py_DECREF(a);
    return out;
}

#define OPERATOR(f, slot, method, rule, op) static PyObject *f(PyObject *x, PyObject *y) { \
    return IN_USE(slot, f) || IS_VALUE(x) ? apply(rule, op, x, y) : reflected(method, x, y); }
OPERATOR(value_add, nb_add, "__add__", add, ADD)
OPERATOR(value_sub, nb_subtract, "__sub__", sub, SUB)
OPERATOR(value_mul, nb_multiply, "__mul__", mul, MUL)
OPERATOR(value_div, nb_true_divide, "__truediv__", divide, DIV)

static PyObject *value_pow(PyObject *x, PyObject *y, PyObject *modulo)
{
    Step s;
    double k;
    if (modulo != Py_None) Py_RETURN_NOTIMPLEMENTED;
    if (!IN_USE(nb_power, value_pow) && !IS_VALUE(x)) return reflected("__pow__", x, y);
    if (IS_VALUE(y)) return apply(power, POW, x, y);
    double base = ((Value *)x)->data;  /* before somebody's __float__ can change it */
    if (is_number(y) <= 0 || to_double(y, &k)) return unknown();
    if (power(base, k, &s)) return NULL;
    return make(s.out, POWER_OF, NEW_REF(x), s.da, NULL, k);  /* k is for get_op */
}

/* A node of one operand. */
#define MAKE_1(data, op, a, da) make(data, op, NEW_REF(a), da, NULL, 0.0)

static PyObject *value_neg(Value *v) { return MAKE_1(-v->data, NEG, v, -1.0); }

static PyObject *value_relu(Value *self, PyObject *Py_UNUSED(none))
{
    return MAKE_1(self->data < 0.0 ? 0.0 : self->data, RELU, self, self->data <= 0.0 ? 0.0 : 1.0);
}

static PyObject *value_exp(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data, y = exp(x);
    if (isinf(y) && isfinite(x) && by_python("math", "exp", "d", x, 0.0, &y)) return NULL;
    return MAKE_1(y, EXP, self, y);
}

static PyObject *value_log(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data, y = log(x);
    if (x <= 0.0 && by_python("math", "log", "d", x, 0.0, &y)) return NULL;
    return MAKE_1(y, LOG, self, 1.0 / x);
}

static PyObject *value_tanh(Value *self, PyObject *Py_UNUSED(none))
{
    double y = tanh(self->data);
    return MAKE_1(y, TANH, self, (1.0 - y) * (1.0 + y));
}

static PyObject *value_sigmoid(Value *self, PyObject *Py_UNUSED(none))
{
    double e = exp(-fabs(self->data)), y = (self->data >= 0.0 ? 1.0 : e) / (1.0 + e);
    return MAKE_1(y, SIGMOID, self, e / (1.0 + e) / (1.0 + e));
}

/* The order of backward(): a list whose blocks lie in the nodes' memory, which has room. A block's
   second word is where a node has its type, and is not NULL either. */
enum {ENTRIES = offsetof(Value, data) / sizeof(void *)};
typedef struct Order {struct Order *before; Value *v[ENTRIES];} Order;

static inline int append(Order **order, int *n, Value *v)
{
    if (!*order || *n == ENTRIES) {
        Order *block = (Order *)take();
        if (!block) return -1;
        block->before = *order;
        *order = block;
        *n = 0;
    }
    (*order)->v[(*n)++] = v;
    return 0;
}

/* Whether v has a _backward of its own, or of its class: a subclass, or Value with another one.
   (No Python code runs in here; a look-up in the dict of a stranger might run some.) */
static int is_special(const Value *v)
{
    PyObject *key, *value;
    Py_ssize_t i = 0;
    if (!IS_PLAIN(v)) return 1;
    if (PyDict_GetItemWithError(Value_Type->tp_dict, names[BACKWARD]) != step_method) return 1;
    while (v->own && PyDict_Next(v->own, &i, &key, &value))
        if (PyUnicode_Check(key) && !PyUnicode_Compare(key, names[BACKWARD])) return 1;
    return 0;
}

/* The next operand of v that the walk has to see: a leaf with nothing else has nothing to do. */
static inline Value *unseen(Value *v, int all)
{
#define IS_UNSEEN(x) ((x)->op == (BARE | OP(NO_OP)) ? (x)->own || all : !((x)->op & VISITED))
    if (!(v->op & MANY)) return IS_UNSEEN(v->a) ? v->a : v->b && IS_UNSEEN(v->b) ? v->b : NULL;
    for (Many *many = v->many; many->seen < many->size; many->seen++)
        if (IS_UNSEEN(many->edge[many->seen].x)) return many->edge[many->seen].x;
    return NULL;
}

/* Put the graph in topological order, operands first, and set gradients to 0, but the leaves'.
   Returns 0; or, unless all are wanted, 1 at the first special node; or -1 without memory. */
static inline int walk(Value *self, int all, Order **order, int *n)
{
    Value *v = NULL, *x = self;  /* v: where the path has come to, from v->next */
    int status = 0;
    do {
        if (!x) {  /* all operands of v are listed, now v; or back, if there is a status */
            if (!status && append(order, n, v)) status = -1;
            if (status) UNMARK(v, VISITED);
            x = v->next;
            v->grad = 0.0;  /* that is where v->next was */
            v = x;
        }
        else if (!all && (x->own || !(x->op & BARE)) && is_special(x)) status = 1;
        else if (x->a) {
            MARK(x, VISITED);
            if (x->op & MANY) x->many->seen = 0;
            x->next = v;
            v = x;
        }
        else if (append(order, n, x)) status = -1;
        else MARK(x, VISITED);
        x = v && !status ? unseen(v, all) : NULL;
    } while (v);
    return status;
}

/* One step of the chain rule, from a node to its operands. */
static inline void chain(const Value *v)
{
    if (v->op & MANY) {
        const Many *many = v->many;
        for (Py_ssize_t i = 0; i < many->slopes; i++)
            many->edge[i].x->grad += many->edge[i].slope * v->grad;
        return;
    }
    if (v->a) v->a->grad += v->da * v->grad;
    if (v->b) v->b->grad += v->db * v->grad;
}

/* Take the marks and the order away, from its end; and do a step at every node, or list them. */
static inline int finish(Order **order, int *n, PyObject *list, int step)
{
    int error = 0;
    for (Order *block; (block = *order); *n = *order ? ENTRIES : 0) {
        while (*n) {
            Value *v = block->v[--*n];
            UNMARK(v, VISITED);
            if (step) chain(v);
            if (list && !error) error = PyList_Append(list, (PyObject *)v);
        }
        *order = block->before;
        give((Value *)block);
    }
    return error;
}

static PyObject *value_backward(Value *self, PyObject *Py_UNUSED(none))
{
    Order *order = NULL;
    PyObject *list = NULL;  /* of all nodes, if Python code can be called for one */
    int n = 0, status = is_special(self) ? 1 : walk(self, 0, &order, &n);
    count_for_idle();
    if (status > 0) {
        finish(&order, &n, NULL, 0);
        list = PyList_New(0);  /* the collector may run */
        status = list ? walk(self, 1, &order, &n) : -1;
    }
    if (!status && !list) self->grad += 1.0;
    if (finish(&order, &n, list, !status && !list) || status) {
        Py_XDECREF(list);
        return PyErr_NoMemory();
    }
    if (list) self->grad += 1.0;
    for (Py_ssize_t i = 0; list && !status && i < PyList_GET_SIZE(list); i++) {
        Value *v = (Value *)PyList_GET_ITEM(list, i);
        if (!is_special(v)) chain(v);
        else {
            PyObject *none = PyObject_CallMethodNoArgs((PyObject *)v, names[BACKWARD]);
            status = !none;
            Py_XDECREF(none);
        }
    }
    Py_XDECREF(list);
    return status ? NULL : Py_NewRef(Py_None);
}

static PyObject *value__backward(Value *v, PyObject *Py_UNUSED(x)) { chain(v); Py_RETURN_NONE; }

/* Let go of an operand; if nobody else holds it, on the list of the dead. No Python code can reach
   what is on that list: the one reference was ours, a plain Value has no weak references, and if it
   has a header, the collector has lost track of it. */
static inline void let_go(Value *x, Value **dead)
{
    if (Py_REFCNT(x) == 1 && IS_PLAIN(x)) {
        if (!(x->op & BARE)) PyObject_GC_UnTrack(x);
        x->next = *dead;
        *dead = x;
    }
    else Py_DECREF(x);
}

static inline void let_go_of_operands(Value *v, Value **dead)
{
    if (v->op & MANY) {
        for (Py_ssize_t i = 0; i < v->many->size; i++) let_go(v->many->edge[i].x, dead);
        PyMem_Free(v->many);
        return;
    }
    if (v->a) let_go(v->a, dead);
    if (v->b) let_go(v->b, dead);
}

/* However deep a graph, no recursion: an operand that nobody else holds waits on the list, which
   lives in this frame, as Python code may run in between and free other graphs. */
static void value_dealloc(Value *self)
{
    Value *dead = NULL;
    if (!(self->op & BARE)) PyObject_GC_UnTrack(self);
    for (int listed = 0; self; listed = 1, self = dead) {
        if (listed) dead = self->next;
        let_go_of_operands(self, &dead);
        if (DEBUG && listed) {  /* such a build counts all that dies: back to here, without them */
            self->a = self->b = NULL;
            UNMARK(self, MANY);
            Py_DECREF(self);
            continue;
        }
        PyTypeObject *type = Py_TYPE(self);
        PyObject *name = NAME(self), *own = self->own;
        if (self->op & BARE) give(self);
        else type->tp_free(self);
        Py_XDECREF(own);
        Py_XDECREF(name);
        Py_DECREF(type);
    }
}

static int value_traverse(Value *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(NAME(self));
    Py_VISIT(self->own);
    Value *x;
    for (Py_ssize_t i = 0; (x = operand_of(self, i)); i++) Py_VISIT(x);
    return 0;
}

/* Operands are older, so a cycle leads through attributes, and the graph stays whole. (A cycle of
   operands, which another __init__ can make, stays as well.) */
static int value_clear(Value *self) { Py_CLEAR(self->own); return 0; }

/* Of its own, so that Python sees that a subclass, whose instances all have a header, is laid out
   otherwise: nobody can make one of a node by an assignment to __class__. */
static void value_free(void *v) { PyObject_GC_Del(v); }

/* tp_is_gc: the collector asks every object of a type that has some with a header. */
static int has_header(PyObject *self) { return !(((Value *)self)->op & BARE); }

static PyObject *get_number(PyObject *self, void *offset)
{
    return PyFloat_FromDouble(*(double *)((char *)self + (uintptr_t)offset));
}

static int set_number(PyObject *self, PyObject *x, void *offset)
{
    return x ? real(x, (double *)((char *)self + (uintptr_t)offset))
             : (PyErr_SetString(PyExc_AttributeError, "data and grad cannot be deleted"), -1);
}

static PyObject *get_op(Value *self, void *Py_UNUSED(closure))
{
    if (NAME(self)) return Py_NewRef(NAME(self));
    if (self->op >> 3 != POWER_OF) return Py_NewRef(names[self->op >> 3]);
    char *k = PyOS_double_to_string(self->db, 'g', 6, 0, NULL);
    PyObject *name = k ? PyUnicode_FromFormat("**%s", k) : NULL;
    PyMem_Free(k);
    return name;
}

/* The operands, or their slopes. A list first: its items come without the collector, which may run
   Python code that changes what self is made of. */
static PyObject *get_tuple(Value *self, void *slopes)
{
    PyObject *list = PyList_New(0), *tuple = NULL, *item;
    Many *many = self->op & MANY ? self->many : NULL;
    Py_ssize_t n = many ? slopes ? many->slopes : many->size : self->b ? 2 : self->a ? 1 : 0, i = 0;
    for (int good = list != NULL; good && i < n; i++) {
        item = slopes ? PyFloat_FromDouble(many ? many->edge[i].slope : i ? self->db : self->da)
            : Py_NewRef((PyObject *)operand_of(self, i));
        good = item && !PyList_Append(list, item);
        Py_XDECREF(item);
    }
    if (list && !PyErr_Occurred()) tuple = PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

static PyObject *value_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
    return type->tp_flags & Py_TPFLAGS_IS_ABSTRACT  /* object refuses to make one */
        ? PyBaseObject_Type.tp_new(type, nothing, NULL) : type->tp_alloc(type, 0);
}

/* The operands and their slopes from two tuples, or NULL and an exception. */
static Many *new_many(PyObject *children, PyObject *slopes)
{
    Py_ssize_t size = PyTuple_GET_SIZE(children), n = PyTuple_GET_SIZE(slopes), i;
    Many *many = PyMem_Malloc(sizeof *many + sizeof *many->edge * (size_t)(size + n));
    if (!many) return PyErr_NoMemory(), NULL;
    *many = (Many){size, n, 0};
    for (i = 0; i < n && !real(PyTuple_GET_ITEM(slopes, i), &many->edge[i].slope); i++) {}
    if (i == n && (!n || n == size)) {
        for (i = 0; i < size; i++) many->edge[i].x = NEW_REF(PyTuple_GET_ITEM(children, i));
        return many;
    }
    if (i == n) PyErr_Format(PyExc_ValueError, "expected %zd slopes, got %zd", size, n);
    PyMem_Free(many);
    return NULL;
}

static int value_init(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *keywords[] = {"data", "_children", "_op", "label", "slopes", NULL};
    PyObject *data, *children = nothing, *op = names[NO_OP], *label = op, *slopes = nothing, *x;
    Value *v = (Value *)self, old;
    Many *many = NULL;
    double number = 0.0;
    int good = 1;
    if (kw && !(kw = PyDict_Copy(kw))) return -1;  /* somebody's __float__ may clear the caller's */
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|OOOO:Value", keywords, &data, &children, &op,
                                     &label, &slopes) || real(data, &number)) children = NULL;
    else children = PySequence_Tuple(children);
    for (Py_ssize_t i = 0; good && children && i < PyTuple_GET_SIZE(children); i++)
        x = PyTuple_GET_ITEM(children, i), good = check(IS_VALUE(x), "Value", x);
    good = good && children && check(PyUnicode_Check(op), "str", op)
        && check(PyUnicode_Check(label), "str", label);
    slopes = good ? PySequence_Tuple(slopes) : NULL;
    if (slopes && (many = new_many(children, slopes))) {
        old = *v;  /* of an earlier __init__, or nothing */
        v->op = (uintptr_t)Py_NewRef(op) | (old.op & BARE) | (many->size ? MANY : 0);
        v->many = many->size ? many : NULL;
        v->b = NULL;
        v->data = number;
        v->grad = 0.0;
        if (!v->many) PyMem_Free(many);
        good = !PyUnicode_GET_LENGTH(label)
            || !PyObject_GenericSetAttr(self, names[LABEL], label);
        for (Py_ssize_t i = 0; (v = operand_of(&old, i)); i++) Py_DECREF(v);
        if (old.op & MANY) PyMem_Free(old.many);
        Py_XDECREF(NAME(&old));
    }
    Py_XDECREF(children);
    Py_XDECREF(slopes);
    Py_XDECREF(kw);
    return good && many ? 0 : -1;
}

static PyMethodDef type_call = {"Value", NULL, METH_VARARGS | METH_KEYWORDS, NULL};

/* Value(x) without the detour by type.__call__, which is taken for everything else. */
static PyObject *value_call(PyObject *type, PyObject *const *args, size_t n, PyObject *keywords)
{
    double data;
    if (PyVectorcall_NARGS(n) == 1 && !keywords && Value_Type->tp_new == value_new
        && Value_Type->tp_init == value_init)
        return real(args[0], &data) ? NULL : make(data, NO_OP, NULL, 0.0, NULL, 0.0);
    PyObject *call = PyCFunction_New(&type_call, type), *out = NULL;
    if (call) out = PyObject_Vectorcall(call, args, n, keywords);
    Py_XDECREF(call);
    return out;
}

/* Whether s is a list or tuple of plain Values that lead to none with a header: then no Python code
   runs while a node is made of them. */
static int holds_values(PyObject *s)
{
    getiterfunc iter = Py_TYPE(s)->tp_iter;
    if (iter != PyList_Type.tp_iter && iter != PyTuple_Type.tp_iter) return 0;
    Value **v = (Value **)PySequence_Fast_ITEMS(s);
    for (Py_ssize_t i = PySequence_Fast_GET_SIZE(s); i--;)
        if (!IS_PLAIN(v[i]) || IS_TRACKED(v[i])) return 0;
    return 1;
}

static PyObject *engine_sumprod(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
    PyObject *p = n == 3 ? args[0] : NULL, *q = p ? args[1] : NULL, *out = p ? args[2] : NULL;
    if (!out || !IS_PLAIN(out) || IS_TRACKED((Value *)out) || !IN_USE(nb_multiply, value_mul)
        || !IN_USE(nb_add, value_add) || !holds_values(p) || !holds_values(q)
        || PySequence_Fast_GET_SIZE(p) != PySequence_Fast_GET_SIZE(q)) {
        PyObject *pure = PyObject_GetAttrString(module, "pure_sumprod");  /* engine.py's */
        out = pure ? PyObject_Vectorcall(pure, args, (size_t)n, NULL) : NULL;
        Py_XDECREF(pure);
        return out;
    }
    Value **x = (Value **)PySequence_Fast_ITEMS(p), **y = (Value **)PySequence_Fast_ITEMS(q), *xy;
    Py_ssize_t size = PySequence_Fast_GET_SIZE(p);
    Py_INCREF(out);
    for (Py_ssize_t i = 0; out && i < size; i++) {
        double a = x[i]->data, b = y[i]->data;
        xy = (Value *)make(a * b, MUL, NEW_REF(x[i]), b, NEW_REF(y[i]), a);
        if (xy) out = make(((Value *)out)->data + xy->data, ADD, (Value *)out, 1.0, xy, 1.0);
        else Py_CLEAR(out);
    }
    return out;
}

#define METHOD(name, doc) {#name, (PyCFunction)(void (*)(void))value_##name, METH_NOARGS, \
                           PyDoc_STR(#name "($self)\n--\n\n" doc)}
#define SLOT(id, f) {id, (void *)(uintptr_t)f}

static PyMethodDef value_methods[] = {
    METHOD(relu, "max(0, self). The slope at 0 is 0."),
    METHOD(exp, "e to the power self. Raises OverflowError where that is too large for a float."),
    METHOD(log, "The natural logarithm. Raises ValueError where self is zero or less."),
    METHOD(tanh, "The hyperbolic tangent."),
    METHOD(sigmoid, "The logistic function, 1 / (1 + exp(-self))."),
    METHOD(backward, "Set v.grad to d(self)/d(v) for every v that self was made from; in a leaf, "
           "add it up."),
    METHOD(_backward, "One step of the chain rule, from this node to its operands."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef value_fields[] = {
    {"data", get_number, set_number, NULL, (void *)offsetof(Value, data)},
    {"grad", get_number, set_number, NULL, (void *)offsetof(Value, grad)},
    {"_op", (getter)get_op, NULL, NULL, NULL},
    {"_prev", (getter)get_tuple, NULL, NULL, NULL},
    {"_slopes", (getter)get_tuple, NULL, NULL, (void *)1},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot value_slots[] = {
    SLOT(Py_tp_doc, "Value(data, _children=(), _op='', label='', slopes=())\n--\n\n"),
    SLOT(Py_nb_add, value_add),
    SLOT(Py_nb_subtract, value_sub),
    SLOT(Py_nb_multiply, value_mul),
    SLOT(Py_nb_true_divide, value_div),
    SLOT(Py_nb_power, value_pow),
    SLOT(Py_nb_negative, value_neg),
    SLOT(Py_tp_methods, value_methods),
    SLOT(Py_tp_getset, value_fields),
    SLOT(Py_tp_free, value_free),
    SLOT(Py_tp_new, value_new),
    SLOT(Py_tp_init, value_init),
    SLOT(Py_tp_dealloc, value_dealloc),
    SLOT(Py_tp_traverse, value_traverse),
    SLOT(Py_tp_clear, value_clear),
    SLOT(Py_tp_is_gc, has_header),
    {0, NULL},
};

static PyType_Spec value_spec = {
    .name = "micrograd.engine.Value",
    .basicsize = sizeof(Value),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = value_slots,
};

/* At the end of Py_Finalize: after another Py_Initialize, numbers.Real is another one. */
static void forget(void) { Value_Type = NULL; }

/* What is static above belongs to the process, so only its first interpreter can be served. */
static int engine_exec(PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the engine in C does not support several interpreters");
        return -1;
    }
    if (!Value_Type) {
        static const char *const symbols[] = {
            "", "+", "-", "*", "/", "**", "**k", "neg", "ReLU", "exp", "log", "tanh", "sigmoid",
            "label", "_backward"};
        for (int i = 0; i < NAMES; i++)
            if (!(names[i] = PyUnicode_InternFromString(symbols[i]))) return -1;
        PyObject *numbers = (nothing = PyTuple_New(0)) ? PyImport_ImportModule("numbers") : NULL;
        Real = numbers ? PyObject_GetAttrString(numbers, "Real") : NULL;
        Py_XDECREF(numbers);
        PyObject *type = Real ? PyType_FromSpec(&value_spec) : NULL;
        if (!type || PyObject_SetAttr(type, names[LABEL], names[NO_OP])
            || !(step_method = PyObject_GetAttr(type, names[BACKWARD]))) return -1;
        Value_Type = (PyTypeObject *)type;
        Value_Type->tp_name = "Value";  /* in messages, as for a class written in Python */
        Value_Type->tp_dictoffset = offsetof(Value, own);
        Value_Type->tp_vectorcall = value_call;
        PyObject_Init(&fresh, Value_Type);
        Py_AtExit(forget);
        type_call.ml_meth = (PyCFunction)(void (*)(void))PyType_Type.tp_call;
    }
    return PyModule_AddIntConstant(module, "checksum", (long)ENGINE_CHECKSUM)
        || PyModule_AddObjectRef(module, "Value", (PyObject *)Value_Type) ? -1 : 0;
}

static PyMethodDef functions[] = {
    {"sumprod", (PyCFunction)(void (*)(void))engine_sumprod, METH_FASTCALL,
     PyDoc_STR("sumprod($module, p, q, start, /)\n--\n\nstart + p[0]*q[0] + p[1]*q[1] + ..., "
               "for a neuron; ValueError for unequal lengths.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot engine_slots[] = {SLOT(Py_mod_exec, engine_exec), {0, NULL}};

static PyModuleDef engine = {
    PyModuleDef_HEAD_INIT,
    .m_name = "micrograd._engine",
    .m_methods = functions,
    .m_slots = engine_slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&engine); }
