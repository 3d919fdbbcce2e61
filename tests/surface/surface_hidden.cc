// surface_hidden.cc: a shared library with its own operators new and delete, which it hides (surface_hidden.lds), as
// libraries do that are linked with their own C++ library.
#include "tests/surface/own_operators.h"

#include <memory>

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
