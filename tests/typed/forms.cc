/* forms.cc: C++'s calls with tokens. See forms.h. With -DHAK_REPLACED the program has an operator new of its own, with
 * -DHAK_FEW it makes only calls that succeed on every allocator. */
#include "forms.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

struct alignas(64) wide {
    wide *next;
    int number;
};

/* As in tcmalloc and LLVM's memory profiles: a hint how often the object is going to be used. */
enum class __hot_cold_t : unsigned char;
void *operator new(std::size_t, __hot_cold_t);
void *operator new[](std::size_t, __hot_cold_t);
void *operator new(std::size_t, const std::nothrow_t &, __hot_cold_t) noexcept;
void *operator new[](std::size_t, const std::nothrow_t &, __hot_cold_t) noexcept;
void *operator new(std::size_t, std::align_val_t, __hot_cold_t);
void *operator new[](std::size_t, std::align_val_t, __hot_cold_t);
void *operator new(std::size_t, std::align_val_t, const std::nothrow_t &, __hot_cold_t) noexcept;
void *operator new[](std::size_t, std::align_val_t, const std::nothrow_t &, __hot_cold_t) noexcept;
struct sized {
    void *obj;
    std::size_t size;
};
extern "C" sized __size_returning_new(std::size_t);
extern "C" sized __size_returning_new_hot_cold(std::size_t, __hot_cold_t);
extern "C" sized __size_returning_new_aligned(std::size_t, std::align_val_t);
extern "C" sized __size_returning_new_aligned_hot_cold(std::size_t, std::align_val_t, __hot_cold_t);

[[maybe_unused]] static int replaced;
#ifdef HAK_REPLACED
void *operator new(std::size_t size) {
    replaced++;
    return std::malloc(size);
}
void operator delete(void *obj) noexcept {
    std::free(obj);
}
void operator delete(void *obj, std::size_t) noexcept {
    std::free(obj);
}
#endif

static void plain() {
    delete (node *)good(new node, sizeof(node), 16);
    delete[] (node *)good(new node[3], 3 * sizeof(node), 16);
    delete (node *)good(new (std::nothrow) node, sizeof(node), 16);
    delete[] (node *)good(new (std::nothrow) node[3], 3 * sizeof(node), 16);
    delete (wide *)good(new wide, sizeof(wide), 64);
    delete[] (wide *)good(new wide[3], 3 * sizeof(wide), 64);
    delete (wide *)good(new (std::nothrow) wide, sizeof(wide), 64);
    delete[] (wide *)good(new (std::nothrow) wide[3], 3 * sizeof(wide), 64);
}

#if !defined(HAK_REPLACED) && !defined(HAK_FEW)
static void hinted() {
    const __hot_cold_t cold{1};
    const std::align_val_t align{128};
    ::operator delete(good(::operator new(40, cold), 40, 16));
    ::operator delete[](good(::operator new[](40, cold), 40, 16));
    ::operator delete(good(::operator new(40, std::nothrow, cold), 40, 16));
    ::operator delete[](good(::operator new[](40, std::nothrow, cold), 40, 16));
    ::operator delete(good(::operator new(40, align, cold), 40, 128), align);
    ::operator delete[](good(::operator new[](40, align, cold), 40, 128), align);
    ::operator delete(good(::operator new(40, align, std::nothrow, cold), 40, 128), align);
    ::operator delete[](good(::operator new[](40, align, std::nothrow, cold), 40, 128), align);
    const sized made[] = {__size_returning_new(40), __size_returning_new_hot_cold(40, cold)};
    for (const sized &one : made)
        ::operator delete(good(one.obj, one.size, 16), one.size);
    const sized aligned[] = {__size_returning_new_aligned(40, align),
                             __size_returning_new_aligned_hot_cold(40, align, cold)};
    for (const sized &one : aligned)
        ::operator delete(good(one.obj, one.size, 128), one.size, align);
}

static int handled;
static void handler() {
    if (++handled == 3)
        std::set_new_handler(nullptr);
}

static void refusals() {
    volatile std::size_t most = PTRDIFF_MAX;
    std::set_new_handler(handler);
    bool thrown = false;
    try {
        void *volatile obj = ::operator new(most);
        (void)obj;
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    void *volatile none = ::operator new(most, std::nothrow);
    WANT(thrown && handled == 3 && none == nullptr);
    none = ::operator new[](most, std::align_val_t{64}, std::nothrow);
    WANT(none == nullptr);
}
#endif

static void library() {
    std::vector<int *> pointers(1000);
    std::shared_ptr<node> shared = std::make_shared<node>();
    std::string text(200, 'x');
    good(pointers.data(), 8000, 16);
    WANT(shared->number == 0 && text.size() == 200);
}

int main() {
    plain();
    library();
#ifdef HAK_REPLACED
    WANT(replaced >=
         6); /* new node, nothrow and arrays by the library's forms, and the library's own objects */
#elif !defined(HAK_FEW)
    hinted();
    refusals();
    WANT(replaced == 0);
#endif
    return 0;
}
