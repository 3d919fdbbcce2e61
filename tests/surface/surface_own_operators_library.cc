// surface_own_operators_library.cc: a library whose own calls of operator new and delete stay in it, while others that call them get
// the allocator's.
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

extern "C" int *own_make(int value) {
    return new int(value);
}
extern "C" void own_end(int *object) {
    delete object;
}
