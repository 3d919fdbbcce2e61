// surface_replaced.cc: a program with an operator new and delete of its own, in their plain forms only: C++17 [new.delete] says
// that the others then work on top of these. Exit 1: they do not.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

void *operator new(std::size_t size) {
    void *obj = std::malloc(size);
    if (obj == nullptr)
        throw std::bad_alloc();
    return obj;
}
void operator delete(void *obj) noexcept {
    std::free(obj);
}

int main() {
    std::vector<std::string> all;
    for (int i = 0; i < 1000; i++)
        all.push_back(std::string(i, 'x'));
    for (std::size_t size : {1, 100, 5000, 300000}) {
        ::operator delete(::operator new(size), size); // sized
        ::operator delete(::operator new(size, std::nothrow));
        ::operator delete[](::operator new[](size));
        ::operator delete[](::operator new[](size), size);
    }
    return 0;
}
