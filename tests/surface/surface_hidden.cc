// surface_hidden.cc: a shared library that has operators new and delete of its own and shows them to nobody
// (surface_hidden.lds), as libraries do that are linked with a C++ library of their own.
#include <cstdlib>
#include <memory>
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

struct shape {
    virtual ~shape() = default;
    char bytes[72];
};

extern "C" void hidden_work() {
    for (int i = 0; i < 1000; i++) {
        auto one = std::make_unique<shape>();
        shape *volatile other = new shape;
        delete other;
    }
}
