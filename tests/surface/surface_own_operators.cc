// surface_own_operators.cc: objects go back and forth between the program, which uses the allocator's operators, and a
// library that has its own, on top of malloc.
#include "tests/surface/want.h"

#include <cstdio>

extern "C" int *own_make(int value);
extern "C" void own_end(int *object);

int main() {
    for (int i = 0; i < 1000; i++) {
        int *made_there = own_make(i), *made_here = new int(i);
        WANT(*made_there == i && *made_here == i);
        delete made_there;
        own_end(made_here);
    }
    std::puts("done");
    return 0;
}
