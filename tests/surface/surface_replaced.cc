// surface_replaced.cc: a program that replaces some of C++'s operators. C++17 [replacement.functions] lets it replace
// any of them alone, and [new.delete] requires that the others then call these. Built once for each choice, named by
// REPLACE_...; with HEADER new returns another address than malloc did, as in programs that keep a size. Exit 1: the
// others do not call the replaced ones.
#if !defined(__clang__)
// The point of the test: the program replaces one form without the other.
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#endif

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#ifdef HEADER
enum { BEFORE = 32 };
#else
enum { BEFORE = 0 };
#endif
static unsigned made, ended;

[[maybe_unused]] static void *make(std::size_t size) {
    char *obj = static_cast<char *>(std::malloc(size + BEFORE));
    if (obj == nullptr)
        throw std::bad_alloc();
    made++;
    return obj + BEFORE;
}
[[maybe_unused]] static void finish(void *obj) {
    if (obj == nullptr)
        return;
    ended++;
    std::free(static_cast<char *>(obj) - BEFORE);
}

#ifdef REPLACE_NEW
void *operator new(std::size_t size) {
    return make(size);
}
#endif
#ifdef REPLACE_NEW_ARRAY
void *operator new[](std::size_t size) {
    return make(size);
}
#endif
#ifdef REPLACE_DELETE
void operator delete(void *obj) noexcept {
    finish(obj);
}
#endif
#ifdef REPLACE_DELETE_ARRAY
void operator delete[](void *obj) noexcept {
    finish(obj);
}
#endif
#ifdef REPLACE_DELETE_SIZED
void operator delete(void *obj, std::size_t) noexcept {
    finish(obj);
}
#endif
#ifdef REPLACE_ALIGNED
void *operator new(std::size_t size, std::align_val_t align) {
    void *obj = std::aligned_alloc(static_cast<std::size_t>(align), size);
    if (obj == nullptr)
        throw std::bad_alloc();
    made++;
    return obj;
}
void operator delete(void *obj, std::align_val_t) noexcept {
    ended++;
    std::free(obj);
}
#endif

static void every_form(std::size_t size) {
    ::operator delete(::operator new(size));
    ::operator delete(::operator new(size), size);
    ::operator delete(::operator new(size, std::nothrow));
    ::operator delete(::operator new(size, std::nothrow), std::nothrow);
    ::operator delete[](::operator new[](size));
    ::operator delete[](::operator new[](size), size);
    ::operator delete[](::operator new[](size, std::nothrow));
    ::operator delete[](::operator new[](size, std::nothrow), std::nothrow);
    const auto at = static_cast<std::align_val_t>(64);
    ::operator delete(::operator new(size, at), at);
    ::operator delete(::operator new(size, at, std::nothrow), size, at);
    ::operator delete[](::operator new[](size, at), size, at);
    ::operator delete[](::operator new[](size, at, std::nothrow), at, std::nothrow);
}

struct node {
    node *next;
    char bytes[100];
};

int main() {
    std::vector<std::string> all;
    for (int i = 0; i < 1000; i++)
        all.push_back(std::string(i, 'x'));
    for (std::size_t size : {64, 128, 4992, 299968})
        every_form(size);
    for (int i = 0; i < 10000; i++) {
        node *volatile one = new node;
        node *volatile many = new node[3];
        delete one;
        delete[] many;
    }
    all.clear();
    all.shrink_to_fit();
#if defined(REPLACE_NEW) || defined(REPLACE_NEW_ARRAY) || defined(REPLACE_ALIGNED)
    if (made == 0)
        return printf("the program's new was not called\n"), 1;
#endif
#if defined(REPLACE_DELETE) || defined(REPLACE_DELETE_ARRAY) || defined(REPLACE_DELETE_SIZED) ||             \
    defined(REPLACE_ALIGNED)
    if (ended == 0)
        return printf("the program's delete was not called\n"), 1;
#endif
#if defined(REPLACE_NEW) && defined(REPLACE_DELETE) // all forms except the aligned ones end there
    if (made != ended)
        return printf("%u objects were made and %u ended\n", made, ended), 1;
#endif
    return 0;
}
