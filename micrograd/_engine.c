/* The engine in C: the Value, node and sumprod of engine.py, in its order where C allows it.

   Lay the two files side by side. What differs is what a Value is made of: one block of 80 bytes,
   with C doubles in place of Python floats, and without a header for the garbage collector, which
   a graph does not need: operands are older than the node that they go into, so there is no cycle,
   and reference counts free everything. (Own attributes can make a cycle. It stays in memory.)

   Where Python's floats raise an exception, this file calls them, to raise the same one. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Value {
    PyObject_HEAD
    struct Value *a, *b;  /* the operands, owned: none, one, or two */
    union {
        double grad;
        struct Value *next;  /* on the path of backward(), and among the dead */
    };
    uintptr_t op;         /* the operation's name, an owned str, or 0; the lowest bit: a visit */
    double da, db;        /* the local derivatives */
    double data;
    PyObject *own;        /* the __dict__ of own attributes, or NULL */
} Value;

enum {LEAF, ADD, SUB, MUL, DIV, POW, POWER_OF, NEG, RELU, EXP, LOG, TANH, OPS};
static PyObject *names[OPS];
static PyTypeObject *Value_Type;
static PyObject *Real;  /* numbers.Real */

#define VISITED ((uintptr_t)1)
#define NAME(v) ((PyObject *)((v)->op & ~VISITED))
#define NEW_REF(v) ((Value *)Py_NewRef((PyObject *)(v)))
#define IS_PLAIN(x) Py_IS_TYPE(x, Value_Type)  /* a Value, of no subclass */
#define IS_VALUE(x) (IS_PLAIN(x) || (!PyFloat_CheckExact(x) && !PyLong_CheckExact(x) \
                                     && PyObject_TypeCheck(x, Value_Type)))
#define HINT "for an operation of your own, use micrograd.engine.node(data, op, a, da, b, db)"

/* The pool: room for the first nodes, in pages. A page is filled from its start, and again when all
   nodes on it are dead, so that neighbours in a graph are neighbours in memory, step after step.
   The pool's 5 MB stay with the process; nodes beyond it come from Python's allocator. */
#ifndef PAGES
#define PAGES 256
#endif
enum {PAGE = 256};
static Value (*pool)[PAGE];
static int live[PAGES], empty[PAGES], empties;  /* nodes on each page; the pages with none */
static int page;                                /* the one that is being filled, */
static Value *next, *end;                       /* from where to where */

static Value *pool_take(void)
{
    if (next == end) {
        if (!pool) {
            pool = PyMem_RawCalloc(PAGES, sizeof *pool);
            for (int i = PAGES; pool && i--;) empty[empties++] = i;
        }
        if (!empties) return NULL;
        page = empty[--empties];
        next = pool[page];
        end = next + PAGE;
    }
    live[page]++;
    return next++;
}

/* Whether v lay in the pool, which then has its room back. */
static int pool_give(const Value *v)
{
    uintptr_t i = ((uintptr_t)v - (uintptr_t)pool) / sizeof *pool;
    if (!pool || i >= PAGES) return 0;
    if (!--live[i] && (int)i == page) next = pool[i];
    else if (!live[i]) empty[empties++] = (int)i;
    return 1;
}

/* PyObject_Init for a node in the pool, without its two calls: a tenth of a small graph's time. */
#if defined Py_GIL_DISABLED || defined Py_REF_DEBUG || defined Py_TRACE_REFS
#define INIT(v) PyObject_Init((PyObject *)(v), Value_Type)
#else
#define INIT(v) (Py_SET_TYPE(v, (PyTypeObject *)Py_NewRef(Value_Type)), Py_SET_REFCNT(v, 1))
#endif

/* A new node, or NULL and MemoryError. The references to a and b become its own, either way. */
static PyObject *make(double data, PyObject *op, Value *a, double da, Value *b, double db)
{
    Value *out = pool_take();
    if (out) INIT(out);
    else if (!(out = PyObject_New(Value, Value_Type))) {
        Py_XDECREF(a);
        Py_XDECREF(b);
        return NULL;
    }
    out->data = data;
    out->grad = 0.0;
    out->op = (uintptr_t)Py_XNewRef(op);
    out->a = a;
    out->da = da;
    out->b = b;
    out->db = db;
    out->own = NULL;
    return (PyObject *)out;
}

/* From here on, a function that returns an int returns 0, or -1 and an exception. */

/* float(x), or a TypeError where x is no real number. */
static inline int real(PyObject *x, double *out)
{
    double number;
    if (PyFloat_CheckExact(x)) number = PyFloat_AS_DOUBLE(x);
    else if (PyLong_CheckExact(x)) number = PyLong_AsDouble(x);
    else {
        int is_real = PyObject_IsInstance(x, Real);
        PyObject *y = is_real > 0 ? PyNumber_Float(x) : is_real < 0 ? NULL
                      : PyObject_GetAttrString((PyObject *)Py_TYPE(x), "__name__");
        if (y && !is_real) PyErr_Format(PyExc_TypeError, "expected a real number, not %S", y);
        number = y && is_real ? PyFloat_AS_DOUBLE(y) : -1.0;
        Py_XDECREF(y);
    }
    if (number == -1.0 && PyErr_Occurred()) return -1;
    *out = number;
    return 0;
}

/* A new reference to x, or to the leaf that a number becomes. */
static inline Value *operand(PyObject *x)
{
    double data;
    if (IS_VALUE(x)) return NEW_REF(x);
    return real(x, &data) ? NULL : (Value *)make(data, NULL, NULL, 0.0, NULL, 0.0);
}

/* NotImplemented in place of a TypeError: the other operand may know what to do. */
static PyObject *not_implemented(void)
{
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) return NULL;
    PyErr_Clear();
    Py_RETURN_NOTIMPLEMENTED;
}

/* What a rule computes: the number and the local derivatives. */
typedef struct {double out, da, db;} Step;

/* An operator and its reflection: either way, Python calls it with the operands in their order. */
static inline PyObject *apply(int (*rule)(double, double, Step *), PyObject *op,
                              PyObject *x, PyObject *y)
{
    Step s;
    Value *a = operand(x), *b = a ? operand(y) : NULL;
    if (!b) {
        Py_XDECREF(a);
        return not_implemented();
    }
    if (!rule(a->data, b->data, &s)) return make(s.out, op, a, s.da, b, s.db);
    Py_DECREF(a);
    Py_DECREF(b);
    return NULL;
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

/* x**k and k*x**(k-1); where k is 0, the limit that PyTorch takes. */
static int power_of(double x, double k, Step *s)
{
    int finite = isfinite(x) && isfinite(k);
    if (finite && x < 0.0 && k != floor(k)) {  /* Python's answer is complex */
        PyErr_SetString(PyExc_ValueError, "a negative number to a fractional power");
        return -1;
    }
    s->out = to_the_power(x, k);
    s->da = k == 0.0 ? 0.0 : k == 2.0 ? 2.0 * x : k * to_the_power(x, k - 1.0);
    return isfinite(s->out) || !finite ? 0 : by_python("operator", "pow", "dd", x, k, &s->out);
}

/* The same, and x**k*log(x); where x is 0, the limit again. */
static int power(double x, double k, Step *s)
{
    if (power_of(x, k, s)) return -1;
    double logarithm = x > 0.0 ? log(x) : x == 0.0 ? -INFINITY : NAN;
    s->db = x == 0.0 && k >= 0.0 ? 0.0 : s->out * logarithm;
    return 0;
}

static PyObject *value_add(PyObject *x, PyObject *y) { return apply(add, names[ADD], x, y); }
static PyObject *value_sub(PyObject *x, PyObject *y) { return apply(sub, names[SUB], x, y); }
static PyObject *value_mul(PyObject *x, PyObject *y) { return apply(mul, names[MUL], x, y); }
static PyObject *value_div(PyObject *x, PyObject *y) { return apply(divide, names[DIV], x, y); }

static PyObject *value_pow(PyObject *x, PyObject *y, PyObject *modulo)
{
    if (modulo != Py_None) Py_RETURN_NOTIMPLEMENTED;
    if (IS_VALUE(y)) return apply(power, names[POW], x, y);
    Step s;
    double k;
    if (real(y, &k)) return not_implemented();
    if (power_of(((Value *)x)->data, k, &s)) return NULL;
    return make(s.out, names[POWER_OF], NEW_REF(x), s.da, NULL, k);  /* k is for get_op */
}

/* A node of one operand. */
static inline PyObject *make_1(double data, PyObject *op, Value *a, double da)
{
    return make(data, op, NEW_REF(a), da, NULL, 0.0);
}

static PyObject *value_neg(Value *v) { return make_1(-v->data, names[NEG], v, -1.0); }

static PyObject *value_relu(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data;
    return make_1(x < 0.0 ? 0.0 : x, names[RELU], self, x <= 0.0 ? 0.0 : 1.0);
}

static PyObject *value_exp(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data, y = exp(x);
    if (isinf(y) && isfinite(x) && by_python("math", "exp", "d", x, 0.0, &y)) return NULL;
    return make_1(y, names[EXP], self, y);
}

static PyObject *value_log(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data, y = log(x);
    if (x <= 0.0 && by_python("math", "log", "d", x, 0.0, &y)) return NULL;
    return make_1(y, names[LOG], self, 1.0 / x);
}

static PyObject *value_tanh(Value *self, PyObject *Py_UNUSED(none))
{
    double y = tanh(self->data);
    return make_1(y, names[TANH], self, (1.0 - y) * (1.0 + y));
}

/* One step of the chain rule, from a node to its operands. */
static inline void chain(const Value *v)
{
    if (v->a) v->a->grad += v->da * v->grad;
    if (v->b) v->b->grad += v->db * v->grad;
}

/* No Python code runs in here, so nothing interrupts it; and no leaf is touched before there is
   memory for all. In the order there are no leaves, which have nothing to hand on. */
static PyObject *value_backward(Value *self, PyObject *Py_UNUSED(none))
{
    if (!self->a) {
        self->grad += 1.0;
        Py_RETURN_NONE;
    }
    Value *few[64], **order = few;  /* topological: operands come first */
    size_t length = 0, room = sizeof few / sizeof *few;
    Value *v = self, *x;
    self->next = NULL;  /* the path up from v, where grad is not needed yet */
    while (v) {
        if (length == room) {
            Value **more = room > PY_SSIZE_T_MAX / 2 / sizeof *more ? NULL
                           : PyMem_Realloc(order == few ? NULL : order, 2 * room * sizeof *more);
            if (!more) break;
            if (order == few) memcpy(more, few, sizeof few);
            order = more;
            room *= 2;
        }
        x = v->a;
        if (!x->a || x->op & VISITED) x = v->b;
        if (x && x->a && !(x->op & VISITED)) {
            x->op |= VISITED;
            x->next = v;
            v = x;
        }
        else {  /* both operands are in order, now v */
            order[length++] = v;
            x = v->next;
            v->grad = 0.0;
            v = x;
        }
    }
    int error = v != NULL;
    for (; v; v = x) {  /* what is left of the path */
        x = v->next;
        v->grad = 0.0;
        v->op &= ~VISITED;
    }
    self->grad = 1.0;
    while (length) {
        v = order[--length];
        v->op &= ~VISITED;
        if (!error) chain(v);
    }
    if (order != few) PyMem_Free(order);
    if (error) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *value_chain(Value *v, PyObject *Py_UNUSED(x)) { chain(v); Py_RETURN_NONE; }

/* However deep a graph, no recursion: an operand that nobody else holds waits on a list. */
static void value_dealloc(Value *self)
{
    Value *dead = self;
    self->next = NULL;
    while ((self = dead)) {
        PyTypeObject *type = Py_TYPE(self);
        PyObject *name = NAME(self), *own = self->own;
        Value *operands[] = {self->a, self->b};
        dead = self->next;
        if (!pool_give(self)) type->tp_free(self);
        for (int i = 0; i < 2; i++) {
            Value *x = operands[i];
            if (x && Py_REFCNT(x) == 1 && IS_PLAIN(x)) {
                x->next = dead;
                dead = x;
            }
            else Py_XDECREF(x);
        }
        Py_XDECREF(own);
        Py_XDECREF(name);
        Py_DECREF(type);
    }
}

static PyObject *get_number(PyObject *self, void *offset)
{
    return PyFloat_FromDouble(*(double *)((char *)self + (uintptr_t)offset));
}

static int set_number(PyObject *self, PyObject *x, void *offset)
{
    if (x) return real(x, (double *)((char *)self + (uintptr_t)offset));
    PyErr_SetString(PyExc_AttributeError, "data and grad cannot be deleted");
    return -1;
}

static PyObject *get_op(Value *self, void *Py_UNUSED(closure))
{
    if (NAME(self) != names[POWER_OF]) return Py_NewRef(self->a ? NAME(self) : names[LEAF]);
    char *k = PyOS_double_to_string(self->db, 'g', 6, 0, NULL);
    PyObject *name = k ? PyUnicode_FromFormat("**%s", k) : NULL;
    PyMem_Free(k);
    return name;
}

static PyObject *get_prev(Value *self, void *Py_UNUSED(closure))
{
    return PyTuple_Pack(self->b ? 2 : self->a ? 1 : 0, self->a, self->b);
}

static PyObject *get_slopes(Value *self, void *Py_UNUSED(closure))
{
    return Py_BuildValue(self->b ? "(dd)" : self->a ? "(d)" : "()", self->da, self->db);
}

static PyMethodDef chain_method = {
    "_backward", (PyCFunction)(void (*)(void))value_chain, METH_NOARGS,
    PyDoc_STR("One step of the chain rule, from this node to its operands."),
};

static PyObject *get_backward(PyObject *self, void *Py_UNUSED(closure))
{
    return PyCFunction_New(&chain_method, self);
}

static int refuse(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(x), void *Py_UNUSED(closure))
{
    PyErr_SetString(PyExc_AttributeError, "_backward cannot be assigned; " HINT);
    return -1;
}

static PyObject *value_repr(Value *self)
{
    PyObject *data = PyFloat_FromDouble(self->data), *grad = PyFloat_FromDouble(self->grad);
    PyObject *s = data && grad ? PyUnicode_FromFormat("Value(data=%R, grad=%R)", data, grad) : NULL;
    Py_XDECREF(data);
    Py_XDECREF(grad);
    return s;
}

static PyObject *value_reduce(PyObject *self, PyObject *Py_UNUSED(none))
{
    PyObject *copyreg = PyImport_ImportModule("copyreg");
    PyObject *newobj = copyreg ? PyObject_GetAttrString(copyreg, "__newobj__") : NULL;
    Py_XDECREF(copyreg);
    return newobj ? Py_BuildValue("N(O)(N{s:d,s:d})", newobj, Py_TYPE(self),
                                  PyObject_GenericGetDict(self, NULL), "data",
                                  ((Value *)self)->data, "grad", ((Value *)self)->grad) : NULL;
}

static int value_init(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *keywords[] = {"data", "label", NULL};
    PyObject *data, *label = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|U:Value", keywords, &data, &label)) {
        if (PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_SetString(PyExc_TypeError, "a Value takes a number and a label, which is a str; "
                            HINT);
        return -1;
    }
    if (real(data, &((Value *)self)->data)) return -1;
    return label && PyUnicode_GET_LENGTH(label) ? PyObject_SetAttrString(self, "label", label) : 0;
}

static PyMethodDef type_call = {"Value", NULL, METH_VARARGS | METH_KEYWORDS, NULL};

/* Value(x) without the detour by type.__call__, which is taken for everything else. */
static PyObject *value_call(PyObject *type, PyObject *const *args, size_t n, PyObject *keywords)
{
    double data;
    if (PyVectorcall_NARGS(n) == 1 && !keywords && Value_Type->tp_new == PyBaseObject_Type.tp_new
        && Value_Type->tp_init == value_init)
        return real(args[0], &data) ? NULL : make(data, NULL, NULL, 0.0, NULL, 0.0);
    PyObject *call = PyCFunction_New(&type_call, type), *out = NULL;
    if (call) out = PyObject_Vectorcall(call, args, n, keywords);
    Py_XDECREF(call);
    return out;
}

static PyObject *engine_node(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kw)
{
    static char *keywords[] = {"data", "op", "a", "da", "b", "db", NULL};
    PyObject *data, *op, *a, *da, *b = Py_None, *db = NULL;
    double out, slope_a, slope_b = 0.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OOOO|OO:node", keywords,
                                     &data, &op, &a, &da, &b, &db)) return NULL;
    if (!PyUnicode_Check(op) || !IS_VALUE(a) || (b != Py_None && !IS_VALUE(b))) {
        PyErr_SetString(PyExc_TypeError, "op is a str, and the operands a and b are Values");
        return NULL;
    }
    if (real(data, &out) || real(da, &slope_a) || (db && real(db, &slope_b))) return NULL;
    return make(out, op, NEW_REF(a), slope_a, b == Py_None ? NULL : NEW_REF(b), slope_b);
}

/* Whether s is a list or tuple of plain Values: then no Python code runs while it is read. */
static int holds_values(PyObject *s)
{
    if (!PyList_CheckExact(s) && !PyTuple_CheckExact(s)) return 0;
    for (Py_ssize_t i = PySequence_Fast_GET_SIZE(s); i--;)
        if (!IS_PLAIN(PySequence_Fast_GET_ITEM(s, i))) return 0;
    return 1;
}

static PyObject *engine_sumprod(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t n)
{
    if (n != 3) return PyErr_Format(PyExc_TypeError, "sumprod takes 3 arguments, not %zd", n);
    PyObject *p = args[0], *q = args[1], *out = NULL;
    int values = IS_PLAIN(args[2]) && holds_values(p) && holds_values(q);
    p = values ? Py_NewRef(p) : PySequence_Tuple(p);
    q = values ? Py_NewRef(q) : p ? PySequence_Tuple(q) : NULL;
    if (p && q) {
        Py_ssize_t size = PySequence_Fast_GET_SIZE(p), other = PySequence_Fast_GET_SIZE(q);
        if (size == other) out = Py_NewRef(args[2]);
        else PyErr_Format(PyExc_ValueError, "expected %zd inputs, got %zd", size, other);
        for (Py_ssize_t i = 0; out && i < size; i++) {
            PyObject *x = PySequence_Fast_GET_ITEM(p, i), *y = PySequence_Fast_GET_ITEM(q, i);
            PyObject *xy = values ? value_mul(x, y) : PyNumber_Multiply(x, y), *last = out;
            out = !xy ? NULL : values ? value_add(last, xy) : PyNumber_Add(last, xy);
            Py_XDECREF(xy);
            Py_DECREF(last);
        }
    }
    Py_XDECREF(p);
    Py_XDECREF(q);
    return out;
}

#define METHOD(name, f, doc) {name, (PyCFunction)(void (*)(void))f, METH_NOARGS, \
                              PyDoc_STR(name "($self)\n--\n\n" doc)}
#define SLOT(id, f) {id, (void *)(uintptr_t)f}

static PyMethodDef value_methods[] = {
    METHOD("relu", value_relu, "max(0, self), with derivative 0 at 0."),
    METHOD("exp", value_exp, "e to the power self; OverflowError where a float cannot hold it."),
    METHOD("log", value_log, "The natural logarithm; ValueError where self is zero or less."),
    METHOD("tanh", value_tanh, "The hyperbolic tangent."),
    METHOD("backward", value_backward, "Compute d(self)/dv for every v that self was made from: "
           "set `v.grad`; a leaf adds it up."),
    METHOD("__reduce__", value_reduce, "For pickle and copy: what arrives is a leaf."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef value_fields[] = {
    {"data", get_number, set_number, PyDoc_STR("The number. Nodes already made from it do not "
     "change when it is assigned."), (void *)offsetof(Value, data)},
    {"grad", get_number, set_number, PyDoc_STR("d(root)/d(self), after `root.backward()`; a leaf "
     "sums over all the calls."), (void *)offsetof(Value, grad)},
    {"_op", (getter)get_op, NULL, NULL, NULL},
    {"_prev", (getter)get_prev, NULL, NULL, NULL},
    {"_slopes", (getter)get_slopes, NULL, NULL, NULL},
    {"_backward", get_backward, refuse, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef value_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(Value, own), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot value_slots[] = {
    SLOT(Py_tp_doc, "Value(data, label='', *more, **names)\n--\n\n"
         "A number, and how it was made: the Value of engine.py, in C.\n\n"
         "Avoid attributes that make a cycle, such as `p.loss = loss` where `loss` was made from\n"
         "`p`: it is never freed. `sys.getrefcount(Value)` grows with each live Value."),
    SLOT(Py_nb_add, value_add),
    SLOT(Py_nb_subtract, value_sub),
    SLOT(Py_nb_multiply, value_mul),
    SLOT(Py_nb_true_divide, value_div),
    SLOT(Py_nb_power, value_pow),
    SLOT(Py_nb_negative, value_neg),
    SLOT(Py_tp_methods, value_methods),
    SLOT(Py_tp_getset, value_fields),
    SLOT(Py_tp_members, value_members),
    SLOT(Py_tp_init, value_init),
    SLOT(Py_tp_repr, value_repr),
    SLOT(Py_tp_dealloc, value_dealloc),
    {0, NULL},
};

static PyType_Spec value_spec = {
    .name = "micrograd.engine.Value",
    .basicsize = sizeof(Value),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
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
        static const char *const symbols[] = {"", "+", "-", "*", "/", "**", "**k", "neg", "ReLU",
                                              "exp", "log", "tanh"};
        for (int i = 0; i < OPS; i++)
            if (!(names[i] = PyUnicode_FromString(symbols[i]))) return -1;
        PyObject *numbers = PyImport_ImportModule("numbers");
        Real = numbers ? PyObject_GetAttrString(numbers, "Real") : NULL;
        Py_XDECREF(numbers);
        PyObject *type = Real ? PyType_FromSpec(&value_spec) : NULL;
        if (!type || PyObject_SetAttrString(type, "label", names[LEAF])) return -1;
        Value_Type = (PyTypeObject *)type;
        Value_Type->tp_name = "Value";  /* in messages, as for a class written in Python */
        Value_Type->tp_vectorcall = value_call;
        Py_AtExit(forget);
        type_call.ml_meth = (PyCFunction)(void (*)(void))PyType_Type.tp_call;
    }
    return PyModule_AddObjectRef(module, "Value", (PyObject *)Value_Type)
        || PyModule_AddObjectRef(module, "compiled", Py_True) ? -1 : 0;
}

static PyMethodDef functions[] = {
    {"node", (PyCFunction)(void (*)(void))engine_node, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("node($module, /, data, op, a, da, b=None, db=0.0)\n--\n\n"
               "One node of a graph: an operation of your own, of one operand or two.")},
    {"sumprod", (PyCFunction)(void (*)(void))engine_sumprod, METH_FASTCALL,
     PyDoc_STR("sumprod($module, p, q, start, /)\n--\n\n"
               "start + p[0]*q[0] + p[1]*q[1] + ...; ValueError if p and q differ in length.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot engine_slots[] = {SLOT(Py_mod_exec, engine_exec), {0, NULL}};

/* The module needs the interpreter's lock. It does not declare that it could do without, so a
   free-threaded build of Python turns the lock back on when it imports it. */
static PyModuleDef engine = {
    PyModuleDef_HEAD_INIT,
    .m_name = "micrograd._engine",
    .m_methods = functions,
    .m_slots = engine_slots,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    return PyModuleDef_Init(&engine);
}
