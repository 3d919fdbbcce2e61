// surface_own_operators_library.cc: a library whose own calls of operator new and delete stay in it, while other
// callers get the allocator's.
#include "tests/surface/own_operators.h"

extern "C" int *own_make(int value) {
    return new int(value);
}
extern "C" void own_end(int *object) {
    delete object;
}
