// own_operators.h: a library's own operators new and delete, on top of malloc. Included once in a library.
#ifndef HAK_TESTS_OWN_OPERATORS_H
#define HAK_TESTS_OWN_OPERATORS_H

#include <cstdlib>
#include <new>

void *operator new(std::size_t size) {
    void *obj = std::malloc(size);
    if (obj == nullptr)
        throw std::bad_alloc();
    return obj;
}
void operator delete(void *obj) noexcept {
    std::free(obj);
}
void operator delete(void *obj, std::size_t) noexcept {
    std::free(obj);
}

#endif
