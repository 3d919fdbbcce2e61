/* cwe762_mismatch_cc.cc: an object is freed by another family than it came from, or with a wrong size or alignment
 * (CWE-762); and double and interior frees through C++. The operators are called directly, as compilers do, and
 * never inside ?:, because clang 19 then emits both calls. */
#include "misuse.h"

#include <new>

namespace {

void *number() {
    return ::operator new(40);
}

void malloc_delete(bool error, size_t size) {
    void *obj = take(size);
    if (error)
        ::operator delete(hide(obj));
    else
        drop(obj);
}

void malloc_delete_array(bool error, size_t size) {
    void *obj = take(size);
    if (error)
        ::operator delete[](hide(obj));
    else
        drop(obj);
}

void calloc_delete(bool error, size_t size) {
    void *obj = take_zeroed(1, size);
    if (error)
        ::operator delete(hide(obj));
    else
        drop(obj);
}

void strdup_delete(bool error, size_t) {
    void *text = strdup("text of libc");
    if (error)
        ::operator delete[](hide(text));
    else
        drop(text);
}

void realloc_delete(bool error, size_t size) {
    void *obj = resize(take(size), 2 * size);
    if (error)
        ::operator delete(hide(obj));
    else
        drop(obj);
}

void new_free(bool error, size_t size) {
    void *obj = ::operator new(size);
    if (error)
        drop(obj);
    else
        ::operator delete(hide(obj));
}

void new_array_free(bool error, size_t size) {
    void *obj = ::operator new[](size);
    if (error)
        drop(obj);
    else
        ::operator delete[](hide(obj));
}

void new_delete_array(bool error, size_t size) {
    void *obj = ::operator new(size);
    if (error)
        ::operator delete[](hide(obj));
    else
        ::operator delete(hide(obj));
}

void new_array_delete(bool error, size_t size) {
    void *obj = ::operator new[](size);
    if (error)
        ::operator delete(hide(obj));
    else
        ::operator delete[](hide(obj));
}

void new_realloc(bool error, size_t size) {
    void *obj = ::operator new(size);
    if (error)
        drop(resize(obj, 2 * size));
    else
        ::operator delete(hide(obj));
}

void nothrow_free(bool error, size_t size) {
    void *obj = ::operator new(size, std::nothrow);
    if (error)
        drop(obj);
    else
        ::operator delete(hide(obj), std::nothrow);
}

void aligned_alloc_delete(bool error, size_t alignment) {
    void *obj = take_aligned(alignment, 2 * alignment);
    if (error)
        ::operator delete(hide(obj));
    else
        drop(obj);
}

void aligned_new_free(bool error, size_t alignment) {
    void *obj = ::operator new(2 * alignment, std::align_val_t(alignment));
    if (error)
        drop(obj);
    else
        ::operator delete(hide(obj), std::align_val_t(alignment));
}

void aligned_new_plain_delete(bool error, size_t alignment) {
    void *obj = ::operator new(2 * alignment, std::align_val_t(alignment));
    if (error)
        ::operator delete(hide(obj));
    else
        ::operator delete(hide(obj), std::align_val_t(alignment));
}

void plain_new_aligned_delete(bool error, size_t alignment) {
    void *obj = ::operator new(4 * alignment);
    if (error)
        ::operator delete(hide(obj), std::align_val_t(alignment));
    else
        ::operator delete(hide(obj));
}

void wrong_alignment(bool error, size_t alignment) {
    void *obj = ::operator new(4 * alignment, std::align_val_t(alignment));
    ::operator delete(hide(obj), std::align_val_t(error ? 2 * alignment : alignment));
}

void lesser_alignment(bool error, size_t alignment) {
    void *obj = ::operator new[](4 * alignment, std::align_val_t(alignment));
    ::operator delete[](hide(obj), std::align_val_t(error ? alignment / 2 : alignment));
}

void wrong_size(bool error, size_t wrong) {
    ::operator delete(hide(number()), error ? wrong : 40);
}

void wrong_array_size(bool error, size_t wrong) {
    void *obj = ::operator new[](400);
    ::operator delete[](hide(obj), error ? wrong : 400);
}

void wrong_size_large(bool error, size_t size) {
    void *obj = ::operator new(size);
    ::operator delete(hide(obj), error ? size - 4096 : size);
}

void wrong_size_aligned(bool error, size_t alignment) {
    void *obj = ::operator new(3 * alignment, std::align_val_t(alignment));
    ::operator delete(hide(obj), (error ? 2 : 3) * alignment, std::align_val_t(alignment));
}

struct base {
    long number = 1;
    ~base() { number = 0; }
};

struct derived : base {
    long more[20] = {};
};

/* No virtual destructor: the compiler passes the size of the base. */
void through_the_base(bool error, size_t) {
    auto *obj = new derived;
    if (error)
        delete static_cast<base *>(hide(obj));
    else
        delete obj;
}

/* The array has a cookie, so plain delete passes an address eight bytes inside. */
void array_with_cookie(bool error, size_t) {
    auto *objs = new derived[5];
    if (error)
        delete static_cast<derived *>(hide(objs));
    else
        delete[] objs;
}

void object_as_array(bool error, size_t) {
    auto *obj = new int(7);
    if (error)
        delete[] static_cast<int *>(hide(obj));
    else
        delete obj;
}

void delete_twice(bool error, size_t) {
    void *obj = number(), *again = hide(obj);
    ::operator delete(hide(obj), 40);
    if (error)
        ::operator delete(again, 40);
}

void delete_then_free(bool error, size_t) {
    void *obj = number(), *again = hide(obj);
    ::operator delete(hide(obj));
    if (error)
        drop(again);
}

void delete_of_stack(bool error, size_t) {
    alignas(64) char local[64] = {};
    ::operator delete(error ? hide(local) : number());
}

void delete_inside(bool error, size_t offset) {
    char *obj = static_cast<char *>(::operator new[](200));
    ::operator delete[](hide(obj + (error ? offset : 0)));
}

#define FAMILY(name, run, arg) {name, "family mismatch", "family", SURE, run, arg}
#define SIZE(name, run, arg)   {name, "size mismatch", "size", SURE, run, arg}
#define ALIGN(name, run, arg)  {name, "alignment mismatch|family mismatch", "alignment", SURE, run, arg}
const misuse_case cases[] = {
    FAMILY("malloc_then_delete", malloc_delete, 40),
    FAMILY("malloc_then_delete_large", malloc_delete, 1 << 20),
    FAMILY("malloc_then_delete_array", malloc_delete_array, 40),
    FAMILY("calloc_then_delete", calloc_delete, 3000),
    FAMILY("strdup_then_delete_array", strdup_delete, 0),
    FAMILY("realloc_then_delete", realloc_delete, 64),
    FAMILY("new_then_free", new_free, 40),
    FAMILY("new_then_free_medium", new_free, 50000),
    FAMILY("new_then_free_large", new_free, 1 << 20),
    FAMILY("new_array_then_free", new_array_free, 400),
    FAMILY("new_then_delete_array", new_delete_array, 40),
    FAMILY("new_array_then_delete", new_array_delete, 400),
    {"new_then_realloc", "family mismatch|invalid realloc", "family", SURE, new_realloc, 100},
    FAMILY("nothrow_new_then_free", nothrow_free, 64),
    FAMILY("aligned_alloc_then_delete", aligned_alloc_delete, 64),
    FAMILY("object_deleted_as_array", object_as_array, 0),
    {"array_with_cookie_deleted_as_object", "misaligned free|interior free", "ledger", SURE,
     array_with_cookie, 0},
    ALIGN("aligned_new_then_free", aligned_new_free, 64),
    ALIGN("aligned_new_then_plain_delete", aligned_new_plain_delete, 64),
    ALIGN("plain_new_then_aligned_delete", plain_new_aligned_delete, 64),
    ALIGN("aligned_delete_more_alignment", wrong_alignment, 64),
    ALIGN("aligned_delete_more_alignment_4096", wrong_alignment, 4096),
    ALIGN("aligned_delete_less_alignment", lesser_alignment, 128),
    SIZE("sized_delete_one_less", wrong_size, 39),
    SIZE("sized_delete_one_more", wrong_size, 41),
    SIZE("sized_delete_much_more", wrong_size, 4000),
    SIZE("sized_delete_one_byte", wrong_size, 1),
    SIZE("sized_delete_array", wrong_array_size, 392),
    SIZE("sized_delete_large", wrong_size_large, 1 << 20),
    SIZE("sized_delete_aligned", wrong_size_aligned, 64),
    SIZE("sized_delete_through_the_base", through_the_base, 0),
    {"delete_twice", "double free", "ledger", SURE, delete_twice, 0},
    {"delete_then_free", "double free", "ledger", SURE, delete_then_free, 0},
    {"delete_of_stack", "invalid free", "ledger", SURE, delete_of_stack, 0},
    {"delete_inside_at_32", "interior free", "ledger", SURE, delete_inside, 32},
    {"delete_inside_at_4", "misaligned free", "ledger", SURE, delete_inside, 4},
};

} // namespace

MISUSE_GROUP(cwe762_mismatch_cc, "762", cases);
