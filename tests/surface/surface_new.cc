// surface_new.cc: all forms of C++'s new and delete. Prints the first line that is wrong; exit 1.
#include "tests/surface/want.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <map>
#include <new>
#include <string>
#include <vector>

static size_t hide(size_t size) {
    volatile size_t hidden = size;
    return hidden;
}
static void *good(void *obj, size_t size, size_t align) {
    void *volatile hidden = obj;
    WANT(hidden != nullptr && reinterpret_cast<uintptr_t>(hidden) % align == 0);
    memset(hidden, 1, size);
    return hidden;
}

// Whatever form ends an object, it is gone: mallinfo2 counts large ones.
static size_t large_objects() {
    return mallinfo2().hblks;
}

static void plain_forms() {
    size_t before = large_objects();
    for (size_t size : {0, 1, 100, 5000, 300000, 3000000}) {
        ::operator delete(good(::operator new(size), size, 16));
        ::operator delete[](good(::operator new[](size), size, 16));
        ::operator delete(good(::operator new(size), size, 16), size);
        ::operator delete[](good(::operator new[](size), size, 16), size);
        ::operator delete(good(::operator new(size, std::nothrow), size, 16), std::nothrow);
        ::operator delete[](good(::operator new[](size, std::nothrow), size, 16), std::nothrow);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    WANT(large_objects() == before);
}

static void aligned_forms() {
    size_t before = large_objects();
    for (size_t align = 32; align <= 1 << 20; align *= 4) {
        auto at = static_cast<std::align_val_t>(align);
        ::operator delete(good(::operator new(1000, at), 1000, align), at);
        ::operator delete[](good(::operator new[](1000, at), 1000, align), at);
        ::operator delete(good(::operator new(1000, at), 1000, align), 1000, at);
        ::operator delete[](good(::operator new[](1000, at), 1000, align), 1000, at);
        ::operator delete(good(::operator new(1000, at, std::nothrow), 1000, align), at, std::nothrow);
        ::operator delete[](good(::operator new[](1000, at, std::nothrow), 1000, align), at, std::nothrow);
    }
    WANT(large_objects() == before);
}

template <typename F> static bool throws(F make) {
    try {
        void *volatile obj = make();
        (void)obj;
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static int calls;
static void handler() {
    if (++calls == 3)
        std::set_new_handler(nullptr); // gives up
}

static void refusals() {
    const size_t huge = hide(SIZE_MAX / 2);
    auto at = static_cast<std::align_val_t>(64);
    WANT(throws([&] { return ::operator new(huge); }));
    WANT(throws([&] { return ::operator new[](huge); }));
    WANT(throws([&] { return ::operator new(huge, at); }));
    WANT(throws([&] { return ::operator new[](huge, at); }));
    WANT(::operator new(huge, std::nothrow) == nullptr);
    WANT(::operator new[](huge, std::nothrow) == nullptr);
    WANT(::operator new(huge, at, std::nothrow) == nullptr);
    WANT(::operator new[](huge, at, std::nothrow) == nullptr);
    std::set_new_handler(handler);
    WANT(throws([&] { return ::operator new(huge); }));
    WANT(calls == 3);
}

static int thrown;
static void throwing_handler() {
    thrown++;
    throw std::bad_alloc();
}
struct other {};
static void handler_of_another_kind() {
    thrown++;
    throw other();
}

// C++17 [new.delete.single] 7: the nothrow forms return null when the one that may throw throws.
static void handlers_that_throw() {
    const size_t huge = hide(SIZE_MAX / 2);
    auto at = static_cast<std::align_val_t>(64);
    std::set_new_handler(throwing_handler);
    WANT(::operator new(huge, std::nothrow) == nullptr);
    WANT(::operator new[](huge, std::nothrow) == nullptr);
    WANT(::operator new(huge, at, std::nothrow) == nullptr);
    WANT(::operator new[](huge, at, std::nothrow) == nullptr);
    WANT(thrown == 4);
    WANT(throws([&] { return ::operator new(huge); }) && throws([&] { return ::operator new(huge, at); }) &&
         thrown == 6);
    std::set_new_handler(handler_of_another_kind);
    WANT(::operator new(huge, std::nothrow) == nullptr &&thrown == 7);
    bool caught = false;
    try {
        void *volatile obj = ::operator new[](huge);
        (void)obj;
    } catch (const other &) {
        caught = true;
    }
    WANT(caught && thrown == 8);
    std::set_new_handler(nullptr);
}

// An alignment that is no power of two is refused, as in libstdc++: no handler is called, because memory would not
// help.
static void wrong_alignments() {
    std::set_new_handler(throwing_handler);
    int before = thrown;
    for (size_t wrong : {0, 3, 24, 48, 4097}) {
        auto at = static_cast<std::align_val_t>(hide(wrong));
        WANT(throws([&] { return ::operator new(100, at); }));
        WANT(throws([&] { return ::operator new[](100, at); }));
        WANT(::operator new(100, at, std::nothrow) == nullptr);
        WANT(::operator new[](100, at, std::nothrow) == nullptr);
    }
    WANT(thrown == before);
    std::set_new_handler(nullptr);
}

struct alignas(128) wide {
    char bytes[256];
};

static void real_use() {
    std::map<std::string, std::vector<std::string>> words;
    for (int i = 0; i < 20000; i++)
        words["key number " + std::to_string(i % 997)].push_back(std::string(i % 90, 'x'));
    WANT(words.size() == 997);
    auto *one = new wide;
    auto *many = new wide[5];
    WANT(reinterpret_cast<uintptr_t>(one) % 128 == 0 && reinterpret_cast<uintptr_t>(many) % 128 == 0);
    delete one;
    delete[] many;
}

int main() {
    plain_forms();
    aligned_forms();
    refusals();
    handlers_that_throw();
    wrong_alignments();
    real_use();
    return 0;
}
