/* The engine in C: the same Value, node and sumprod as in engine.py, in the same order.

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
    double data;
    union {
        double grad;
        struct Value *next;  /* on the path of backward(), and among the dead */
    };
    struct Value *a, *b;  /* the operands, owned: none, one, or two */
    double da, db;        /* the local derivatives; on a leaf, da keeps grad during backward() */
    uintptr_t op;         /* the operation's name, an owned str; the lowest bit marks a visit */
    PyObject *own;        /* the __dict__ of own attributes, or NULL */
} Value;

static PyTypeObject *Value_Type;
static PyObject *Real, *Complex;  /* of the module numbers */
static PyObject *LEAF, *ADD, *SUB, *MUL, *DIV, *POW, *POWER_OF, *NEG, *RELU, *EXP, *LOG, *TANH;

#define VISITED ((uintptr_t)1)
#define NAME(v) ((PyObject *)((v)->op & ~VISITED))
#define IS_NUMBER(x) (PyFloat_CheckExact(x) || PyLong_CheckExact(x))
#define IS_PLAIN(x) Py_IS_TYPE(x, Value_Type)  /* a Value, of no subclass */
#define IS_VALUE(x) (IS_PLAIN(x) || (!IS_NUMBER(x) && PyObject_TypeCheck(x, Value_Type)))

/* The pool: room for the first nodes, in pages. A page is filled from its start, and again when all
   nodes on it are dead, so that neighbours in a graph are neighbours in memory, step after step.
   The pool's 5 MB stay with the process; nodes beyond it come from Python's allocator. */
#ifndef PAGES
#define PAGES 256
#endif
enum {PAGE = 256};
static Value (*pool)[PAGE];
static int live[PAGES], empty[PAGES], empties;  /* nodes on each page; the pages with none */
static int page, used = PAGE;                   /* the page that is being filled, and how far */

static Value *pool_take(void)
{
    if (used == PAGE) {
        if (!pool) {
            pool = PyMem_RawMalloc(PAGES * sizeof *pool);
            for (int i = PAGES; pool && i--;) empty[empties++] = i;
        }
        if (!empties) return NULL;
        page = empty[--empties];
        used = 0;
    }
    live[page]++;
    return &pool[page][used++];
}

/* Whether v lay in the pool, which then has its room back. */
static int pool_give(const Value *v)
{
    uintptr_t i = ((uintptr_t)v - (uintptr_t)pool) / sizeof *pool;
    if (!pool || i >= PAGES) return 0;
    if (--live[i]) return 1;
    if ((int)i == page) used = 0;
    else empty[empties++] = (int)i;
    return 1;
}

/* A new node, or NULL and MemoryError. */
static Value *make(double data, PyObject *op, Value *a, double da, Value *b, double db)
{
    Value *out = pool_take();
    if (out) PyObject_Init((PyObject *)out, Value_Type);
    else if (!(out = PyObject_New(Value, Value_Type))) return NULL;
    out->data = data;
    out->grad = 0.0;
    out->op = (uintptr_t)Py_NewRef(op);
    out->a = (Value *)Py_XNewRef((PyObject *)a);
    out->da = da;
    out->b = (Value *)Py_XNewRef((PyObject *)b);
    out->db = db;
    out->own = NULL;
    return out;
}

/* From here on, a function that returns an int returns 0, or -1 and an exception, unless its
   comment says otherwise. */

/* 1 or 0, or -1 and an exception. */
static int is_real(PyObject *x)
{
    PyNumberMethods *number = Py_TYPE(x)->tp_as_number;
    if (!number || !(number->nb_float || number->nb_index)) return 0;
    /* NumPy's strings and complex numbers have a __float__, too. */
    if (PyUnicode_Check(x) || PyBytes_Check(x)) return 0;
    int real = PyObject_IsInstance(x, Real);
    if (real) return real;
    int complex = PyObject_IsInstance(x, Complex);
    return complex < 0 ? -1 : !complex;
}

/* float(x). 1; or 0 where x is no real number; or -1 and an exception. */
static inline int as_real(PyObject *x, double *out)
{
    if (PyFloat_CheckExact(x)) {
        *out = PyFloat_AS_DOUBLE(x);
        return 1;
    }
    if (PyLong_CheckExact(x)) {
        double number = PyLong_AsDouble(x);
        if (number == -1.0 && PyErr_Occurred()) return -1;
        *out = number;
        return 1;
    }
    int ok = is_real(x);
    if (ok <= 0) return ok;
    PyObject *number = PyNumber_Float(x);
    if (!number) return -1;
    *out = PyFloat_AS_DOUBLE(number);
    Py_DECREF(number);
    return 1;
}

static int wrong_type(const char *expected, PyObject *x)
{
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(x), "__name__");
    if (name) PyErr_Format(PyExc_TypeError, "expected a %s, not %S", expected, name);
    Py_XDECREF(name);
    return -1;
}

static int real(PyObject *x, double *out)
{
    int ok = as_real(x, out);
    return ok > 0 ? 0 : ok < 0 ? -1 : wrong_type("real number", x);
}

/* as_real, for what stands beside a Value: what has a length is an array, and no number. */
static inline int beside(PyObject *x, double *out)
{
    PyTypeObject *type = Py_TYPE(x);
    if ((type->tp_as_sequence && type->tp_as_sequence->sq_length)
        || (type->tp_as_mapping && type->tp_as_mapping->mp_length)) return 0;
    return as_real(x, out);
}

/* A new reference to x, or to the leaf that a number becomes. NULL with an exception; or without
   one, where x is neither. */
static inline Value *operand(PyObject *x)
{
    double data;
    if (IS_VALUE(x)) return (Value *)Py_NewRef(x);
    return beside(x, &data) > 0 ? make(data, LEAF, NULL, 0.0, NULL, 0.0) : NULL;
}

/* What a rule computes: the number and the local derivatives. */
typedef struct {
    double out, da, db;
} Step;

/* An operator and its reflection: either way, Python calls it with the operands in their order. */
static inline PyObject *operator(PyObject *op, int (*rule)(double, double, Step *),
                                 PyObject *x, PyObject *y)
{
    Step s;
    Value *out = NULL, *a = (Value *)x, *b = (Value *)y;
    if (IS_PLAIN(x) && IS_PLAIN(y))  /* as below, in less time */
        return rule(a->data, b->data, &s) ? NULL : (PyObject *)make(s.out, op, a, s.da, b, s.db);
    a = operand(x);
    b = a ? operand(y) : NULL;
    if (b && !rule(a->data, b->data, &s)) out = make(s.out, op, a, s.da, b, s.db);
    Py_XDECREF(a);
    Py_XDECREF(b);
    if (!out && !PyErr_Occurred()) Py_RETURN_NOTIMPLEMENTED;
    return (PyObject *)out;
}

/* Python's own function of x, or of x and y: for its exceptions. */
static int by_python(const char *module, const char *function, const char *format,
                     double x, double y, double *out)
{
    PyObject *m = PyImport_ImportModule(module), *z = NULL;
    if (m) z = PyObject_CallMethod(m, function, format, x, y);
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

/* x**k and k·x**(k-1); where k is 0, the limit that PyTorch takes. */
static int power_of(double x, double k, Step *s)
{
    if (x < 0.0 && isfinite(x) && isfinite(k) && k != floor(k)) {  /* Python's answer is complex */
        PyErr_SetString(PyExc_ValueError, "a negative number to a fractional power");
        return -1;
    }
    s->out = pow(x, k);
    s->da = k == 0.0 ? 0.0 : k * pow(x, k - 1.0);
    return isfinite(s->out) ? 0 : by_python("operator", "pow", "dd", x, k, &s->out);
}

/* The same, and x**k·log(x); where x is 0, the limit again. */
static int power(double x, double k, Step *s)
{
    if (power_of(x, k, s)) return -1;
    double logarithm = x > 0.0 ? log(x) : x == 0.0 ? -INFINITY : NAN;
    s->db = x == 0.0 && k >= 0.0 ? 0.0 : s->out * logarithm;
    return 0;
}

static PyObject *value_add(PyObject *x, PyObject *y) { return operator(ADD, add, x, y); }
static PyObject *value_sub(PyObject *x, PyObject *y) { return operator(SUB, sub, x, y); }
static PyObject *value_mul(PyObject *x, PyObject *y) { return operator(MUL, mul, x, y); }
static PyObject *value_div(PyObject *x, PyObject *y) { return operator(DIV, divide, x, y); }

static PyObject *value_pow(PyObject *x, PyObject *y, PyObject *modulo)
{
    if (modulo != Py_None) Py_RETURN_NOTIMPLEMENTED;
    if (IS_VALUE(y)) return operator(POW, power, x, y);
    Step s;
    double k;
    int ok = beside(y, &k);
    if (ok == 0) Py_RETURN_NOTIMPLEMENTED;
    if (ok < 0 || power_of(((Value *)x)->data, k, &s)) return NULL;
    return (PyObject *)make(s.out, POWER_OF, (Value *)x, s.da, NULL, k);  /* k is for get_op */
}

static PyObject *value_neg(Value *self)
{
    return (PyObject *)make(-self->data, NEG, self, -1.0, NULL, 0.0);
}

static PyObject *value_relu(Value *self, PyObject *Py_UNUSED(none))
{
    double x = self->data;
    return (PyObject *)make(x < 0.0 ? 0.0 : x, RELU, self, x <= 0.0 ? 0.0 : 1.0, NULL, 0.0);
}

static PyObject *value_exp(Value *self, PyObject *Py_UNUSED(none))
{
    double y = exp(self->data);
    if (!isfinite(y) && by_python("math", "exp", "d", self->data, 0.0, &y)) return NULL;
    return (PyObject *)make(y, EXP, self, y, NULL, 0.0);
}

static PyObject *value_log(Value *self, PyObject *Py_UNUSED(none))
{
    double y = log(self->data);
    if (!isfinite(y) && by_python("math", "log", "d", self->data, 0.0, &y)) return NULL;
    return (PyObject *)make(y, LOG, self, 1.0 / self->data, NULL, 0.0);
}

static PyObject *value_tanh(Value *self, PyObject *Py_UNUSED(none))
{
    double y = tanh(self->data);
    return (PyObject *)make(y, TANH, self, (1.0 - y) * (1.0 + y), NULL, 0.0);
}

/* One step of the chain rule, from a node to its operands. */
static inline void chain(const Value *v)
{
    if (v->a) v->a->grad += v->da * v->grad;
    if (v->b) v->b->grad += v->db * v->grad;
}

static PyObject *value_chain(Value *self, PyObject *Py_UNUSED(none))
{
    chain(self);
    Py_RETURN_NONE;
}

/* No Python code runs in here, so nothing interrupts it but a lack of memory. */
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
            Value **more = room > SIZE_MAX / 2 / sizeof *more ? NULL
                           : PyMem_Realloc(order == few ? NULL : order, 2 * room * sizeof *more);
            if (!more) break;
            if (order == few) memcpy(more, few, sizeof few);
            order = more;
            room *= 2;
        }
        x = v->a;
        if (x->op & VISITED) x = v->b;
        if (!x || x->op & VISITED) {  /* both operands have been visited */
            order[length++] = v;
            x = v->next;
            v->grad = 0.0;
            v = x;
            continue;
        }
        x->op |= VISITED;
        if (x->a) {
            x->next = v;
            v = x;
        }
        else {
            order[length++] = x;
            x->da = x->grad;
            x->grad = 0.0;
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
        if (!v->a) v->grad += v->da;
        else if (!error) chain(v);
    }
    if (order != few) PyMem_Free(order);
    if (error) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Whoever dies while another is being freed waits on a list: no recursion, however deep a graph. */
static void value_dealloc(Value *self)
{
    static Value *dead;
    static int busy;
    self->next = dead;
    dead = self;
    if (busy) return;
    busy = 1;
    while ((self = dead)) {
        PyTypeObject *type = Py_TYPE(self);
        PyObject *name = NAME(self), *own = self->own;
        Value *a = self->a, *b = self->b;
        dead = self->next;
        if (!pool_give(self)) type->tp_free(self);
        Py_XDECREF(a);
        Py_XDECREF(b);
        Py_XDECREF(own);
        Py_DECREF(name);
        Py_DECREF(type);
    }
    busy = 0;
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
    if (NAME(self) != POWER_OF) return Py_NewRef(NAME(self));
    char *k = PyOS_double_to_string(self->db, 'g', 6, 0, NULL);
    PyObject *name = k ? PyUnicode_FromFormat("**%s", k) : NULL;
    PyMem_Free(k);
    return name;
}

static PyObject *get_prev(Value *self, void *Py_UNUSED(closure))
{
    return PyTuple_Pack(self->b ? 2 : self->a ? 1 : 0, self->a, self->b);
}

static PyObject *value_reduce(Value *self, PyObject *Py_UNUSED(none))
{
    PyObject *copyreg = PyImport_ImportModule("copyreg"), *out = NULL;
    PyObject *newobj = copyreg ? PyObject_GetAttrString(copyreg, "__newobj__") : NULL;
    PyObject *own = newobj ? PyObject_GenericGetDict((PyObject *)self, NULL) : NULL;
    if (own) out = Py_BuildValue("O(O)(O{s:d,s:d})", newobj, Py_TYPE(self), own,
                                 "data", self->data, "grad", self->grad);
    Py_XDECREF(copyreg);
    Py_XDECREF(newobj);
    Py_XDECREF(own);
    return out;
}

static PyObject *value_repr(Value *self)
{
    char *data = PyOS_double_to_string(self->data, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    char *grad = PyOS_double_to_string(self->grad, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    PyObject *text = data && grad ? PyUnicode_FromFormat("Value(data=%s, grad=%s)", data, grad)
                     : NULL;
    PyMem_Free(data);
    PyMem_Free(grad);
    return text;
}

static PyObject *value_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kw))
{
    Value *self = (Value *)type->tp_alloc(type, 0);  /* zeros: a leaf */
    if (self) self->op = (uintptr_t)Py_NewRef(LEAF);
    return (PyObject *)self;
}

static int value_init(PyObject *self, PyObject *args, PyObject *kw)
{
    static char *names[] = {"data", "label", NULL};
    PyObject *data, *label = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "O|O:Value", names, &data, &label)) return -1;
    if (real(data, &((Value *)self)->data)) return -1;
    int labelled = label ? PyObject_IsTrue(label) : 0;
    return labelled > 0 ? PyObject_SetAttrString(self, "label", label) : labelled;
}

/* f, with the arguments of a vectorcall as a tuple and a dict. */
static PyObject *call(PyObject *(*f)(PyObject *, PyObject *, PyObject *), PyObject *self,
                      PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    PyObject *out = NULL, *tuple = PyTuple_New(n), *dict = PyDict_New();
    int error = !tuple || !dict;
    for (Py_ssize_t i = 0; !error && i < n; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; !error && names && i < PyTuple_GET_SIZE(names); i++)
        error = PyDict_SetItem(dict, PyTuple_GET_ITEM(names, i), args[n + i]);
    if (!error) out = f(self, tuple, dict);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return out;
}

/* Value(data), without a detour, unless somebody has set another Value.__init__. */
static PyObject *value_vectorcall(PyObject *type, PyObject *const *args, size_t nargs,
                                  PyObject *names)
{
    double data;
    Py_ssize_t n = PyVectorcall_NARGS(nargs);
    if (n != 1 || names || Value_Type->tp_init != value_init)
        return call(PyType_Type.tp_call, type, args, n, names);
    return real(args[0], &data) ? NULL : (PyObject *)make(data, LEAF, NULL, 0.0, NULL, 0.0);
}

static PyObject *engine_node(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kw)
{
    static char *names[] = {"data", "op", "a", "da", "b", "db", NULL};
    PyObject *data, *op, *a, *da, *b = Py_None, *db = NULL;
    double out, slope_a, slope_b = 0.0;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OOOO|OO:node", names,
                                     &data, &op, &a, &da, &b, &db)) return NULL;
    int error = !PyUnicode_Check(op) ? wrong_type("str", op)
              : !IS_VALUE(a) ? wrong_type("Value", a)
              : b != Py_None && !IS_VALUE(b) ? wrong_type("Value", b) : 0;
    if (error || real(data, &out) || real(da, &slope_a) || (db && real(db, &slope_b))) return NULL;
    return (PyObject *)make(out, op, (Value *)a, slope_a, b == Py_None ? NULL : (Value *)b, slope_b);
}

/* Whether s is a list or tuple of plain Values: then no Python code runs while it is read. */
static int holds_values(PyObject *s)
{
    if (!PyList_CheckExact(s) && !PyTuple_CheckExact(s)) return 0;
    for (Py_ssize_t i = PySequence_Fast_GET_SIZE(s); i--;)
        if (!IS_PLAIN(PySequence_Fast_GET_ITEM(s, i))) return 0;
    return 1;
}

static PyObject *sum_products(PyObject *p, PyObject *q, PyObject *start)
{
    int values = IS_PLAIN(start) && holds_values(p) && holds_values(q);
    p = values ? Py_NewRef(p) : PySequence_Tuple(p);
    q = values ? Py_NewRef(q) : p ? PySequence_Tuple(q) : NULL;
    PyObject *out = NULL;
    if (p && q) {
        Py_ssize_t n = PySequence_Fast_GET_SIZE(p), m = PySequence_Fast_GET_SIZE(q);
        if (n == m) out = Py_NewRef(start);
        else PyErr_Format(PyExc_ValueError, "expected %zd inputs, got %zd", n, m);
        for (Py_ssize_t i = 0; out && i < n; i++) {
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

static PyObject *sumprod_by_name(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kw)
{
    static char *names[] = {"p", "q", "start", NULL};
    PyObject *p, *q, *start;
    if (!PyArg_ParseTupleAndKeywords(args, kw, "OOO:sumprod", names, &p, &q, &start)) return NULL;
    return sum_products(p, q, start);
}

static PyObject *engine_sumprod(PyObject *module, PyObject *const *args, Py_ssize_t n,
                                PyObject *names)
{
    if (n != 3 || names) return call(sumprod_by_name, module, args, n, names);
    return sum_products(args[0], args[1], args[2]);
}

#define METHOD(name, f, doc) {name, (PyCFunction)(void (*)(void))f, METH_NOARGS, \
                              PyDoc_STR(name "($self)\n--\n\n" doc)}
#define SLOT(id, f) {id, (void *)(uintptr_t)f}

static PyMethodDef value_methods[] = {
    METHOD("relu", value_relu, "max(0, self), with derivative 0 at 0."),
    METHOD("exp", value_exp,
           "e to the power self. Raises OverflowError where that is too large for a float."),
    METHOD("log", value_log, "The natural logarithm. Raises ValueError where self is zero or less."),
    METHOD("tanh", value_tanh, "The hyperbolic tangent."),
    METHOD("_backward", value_chain, "One step of the chain rule, from this node to its operands."),
    METHOD("backward", value_backward, "Add ∂self/∂leaf to the gradient of every leaf below, and "
           "set it on the nodes between."),
    METHOD("__reduce__", value_reduce, "For pickle and copy: what arrives is a leaf."),
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef value_fields[] = {
    {"data", get_number, set_number, PyDoc_STR("The number."), (void *)offsetof(Value, data)},
    {"grad", get_number, set_number, PyDoc_STR("∂root/∂self: summed over all `backward()`s on a "
     "leaf, that of the last one elsewhere."), (void *)offsetof(Value, grad)},
    {"_op", (getter)get_op, NULL, NULL, NULL},
    {"_prev", (getter)get_prev, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef value_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(Value, own), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot value_slots[] = {
    SLOT(Py_tp_doc, "Value(data, label='')\n--\n\n"
         "A real number and the operation that made it: engine.py's, in C."),
    SLOT(Py_nb_add, value_add),
    SLOT(Py_nb_subtract, value_sub),
    SLOT(Py_nb_multiply, value_mul),
    SLOT(Py_nb_true_divide, value_div),
    SLOT(Py_nb_power, value_pow),
    SLOT(Py_nb_negative, value_neg),
    SLOT(Py_tp_methods, value_methods),
    SLOT(Py_tp_getset, value_fields),
    SLOT(Py_tp_members, value_members),
    SLOT(Py_tp_new, value_new),
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

static PyMethodDef functions[] = {
    {"node", (PyCFunction)(void (*)(void))engine_node, METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("node($module, /, data, op, a, da, b=None, db=0.0)\n--\n\n"
               "One node of a graph: an operation of your own, of one operand or two.")},
    {"sumprod", (PyCFunction)(void (*)(void))engine_sumprod, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("sumprod($module, /, p, q, start)\n--\n\n"
               "start + p[0]*q[0] + p[1]*q[1] + …, from left to right.")},
    {NULL, NULL, 0, NULL},
};

/* This module needs the interpreter's lock. It does not declare that it could do without, so a
   free-threaded build of Python turns the lock back on when it imports it. */
static PyModuleDef engine = {
    PyModuleDef_HEAD_INIT,
    .m_name = "micrograd._engine",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    const struct {PyObject **name; const char *text;} names[] = {
        {&LEAF, ""}, {&ADD, "+"}, {&SUB, "-"}, {&MUL, "*"}, {&DIV, "/"}, {&POW, "**"},
        {&POWER_OF, "**k"}, {&NEG, "neg"}, {&RELU, "ReLU"}, {&EXP, "exp"}, {&LOG, "log"},
        {&TANH, "tanh"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!(*names[i].name = PyUnicode_FromString(names[i].text))) return NULL;
    PyObject *numbers = PyImport_ImportModule("numbers");
    if (!numbers) return NULL;
    Real = PyObject_GetAttrString(numbers, "Real");
    Complex = PyObject_GetAttrString(numbers, "Complex");
    Py_DECREF(numbers);
    PyObject *type = PyType_FromSpec(&value_spec), *module = PyModule_Create(&engine);
    if (!Real || !Complex || !type || !module) return NULL;
    Value_Type = (PyTypeObject *)type;
    Value_Type->tp_name = "Value";  /* in messages, as for a class written in Python */
    Value_Type->tp_vectorcall = value_vectorcall;
    if (PyObject_SetAttrString(type, "label", LEAF)
        || PyModule_AddObjectRef(module, "Value", type)) return NULL;
    return module;
}
