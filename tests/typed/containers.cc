/* containers.cc: containers and memory resources with tokens, by hakmem.hpp. */
#include "include/hakmem.hpp"
#include "tests/surface/want.h"

#include <list>
#include <map>
#include <string>
#include <vector>

struct node {
    node *next;
    int number;
};
struct alignas(256) wide {
    char bytes[256];
};

template <class T> using vector = std::vector<T, hakmem::allocator<T>>;
using text = std::basic_string<char, std::char_traits<char>, hakmem::allocator<char>>;

static_assert(hakmem::token<node> != hakmem::token<wide> && hakmem::token<int> != hakmem::token<long>);
static_assert(hakmem::token<node> >> 63 == 1 && hakmem::token<node *> >> 63 == 1);
static_assert(hakmem::token<char> >> 63 == 0 && hakmem::token<const int> >> 63 == 0);
static_assert(std::is_same_v<std::allocator_traits<hakmem::allocator<int>>::rebind_alloc<node>,
                             hakmem::allocator<node>>);

static void containers() {
    vector<node> nodes;
    std::list<int, hakmem::allocator<int>> numbers;
    std::map<int, text, std::less<>, hakmem::allocator<std::pair<const int, text>>> names;
    for (int i = 0; i < 5000; i++) {
        nodes.push_back({nullptr, i});
        numbers.push_front(i);
        names.emplace(i, text(static_cast<std::size_t>(i % 100), 'x'));
    }
    vector<node> moved = std::move(nodes), copied = moved;
    WANT(copied[4999].number == 4999 && numbers.front() == 4999 && names.at(99).size() == 99);
    vector<wide> wides(10);
    WANT(reinterpret_cast<std::uintptr_t>(wides.data()) % 256 == 0);
    WANT(hakmem::allocator<int>() == hakmem::allocator<node>() &&
         !(hakmem::allocator<int>() != hakmem::allocator<node>()));
}

static void resources() {
    std::pmr::memory_resource *data = hakmem::resource<char>(), *pointers = hakmem::resource<node *>();
    WANT(data == hakmem::resource<char>() && *data != *pointers && *data == *data);
    std::pmr::vector<std::pmr::string> lines(pointers);
    for (int i = 0; i < 1000; i++)
        lines.emplace_back(std::pmr::string(200, 'y', data));
    void *aligned = data->allocate(100, 512);
    WANT(reinterpret_cast<std::uintptr_t>(aligned) % 512 == 0);
    data->deallocate(aligned, 100, 512);
    WANT(lines.back().size() == 200);
}

template <class Error, class Body> static bool throws(Body body) {
    try {
        body();
    } catch (const Error &) {
        return true;
    }
    return false;
}

static void refusals() {
    volatile std::size_t most = static_cast<std::size_t>(-1), much = most / 64;
    WANT(throws<std::bad_array_new_length>([&] { (void)hakmem::allocator<node>().allocate(most / 8); }));
    WANT(throws<std::bad_alloc>([&] { (void)hakmem::allocator<node>().allocate(much * 2); }));
    WANT(throws<std::bad_alloc>([&] { (void)hakmem::resource<int>()->allocate(much * 60, 16); }));
}

int main() {
    containers();
    resources();
    refusals();
    return 0;
}
