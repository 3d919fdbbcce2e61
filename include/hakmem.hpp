/* hakmem.hpp: the typed heap for C++17 (docs/TYPED_HEAP.md): an allocator for containers, and memory resources.
 * Both pass the type of their objects to hakmem. Link the library as for hakmem.h.
 *
 *   std::vector<node, hakmem::allocator<node>> nodes;
 *   std::pmr::vector<char> text(hakmem::resource<char>());
 *
 * All of it is as thread-safe as malloc. */
#ifndef HAKMEM_HPP
#define HAKMEM_HPP

#include "hakmem.h"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <type_traits>

namespace hakmem {

/* True for a type without pointers. Its objects never share addresses with objects of types that have pointers.
 * Where the compiler has no tokens, every type that is no number counts as having pointers; a program may
 * specialise this for its own types. */
template <class T> struct is_data : std::bool_constant<std::is_arithmetic_v<T> || std::is_enum_v<T>> {};
template <class T, std::size_t N> struct is_data<T[N]> : is_data<T> {};

namespace detail {
/* The FNV-1a hash of the type's name, as the compiler writes it. */
template <class T> constexpr std::size_t name_hash() {
    std::size_t hash = 14695981039346656037u;
    for (const char *at = __PRETTY_FUNCTION__; *at != 0; at++)
        hash = (hash ^ static_cast<unsigned char>(*at)) * 1099511628211u;
    return hash;
}
} // namespace detail

/* The type's token. */
template <class T>
inline constexpr std::size_t token =
#if HAK_INFERS_TOKENS
    __builtin_infer_alloc_token(sizeof(T));
#else
    (detail::name_hash<std::remove_cv_t<T>>() & ~(std::size_t{1} << 63)) | std::size_t{1} << 40 |
    std::size_t{is_data<std::remove_cv_t<T>>::value ? 0u : 1u} << 63;
#endif

/* As std::allocator<T>. Throws std::bad_array_new_length and std::bad_alloc. */
template <class T> class allocator {
  public:
    using value_type = T;
    using is_always_equal = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;

    constexpr allocator() noexcept = default;
    template <class U> constexpr allocator(const allocator<U> &) noexcept {}

    [[nodiscard]] T *allocate(std::size_t count) {
        if (count > static_cast<std::size_t>(-1) / sizeof(T))
            throw std::bad_array_new_length();
        void *obj = is_wide ? hak_aligned_alloc_token(alignof(T), count * sizeof(T), token<T>)
                            : hak_malloc_token(count * sizeof(T), token<T>);
        if (obj == nullptr)
            throw std::bad_alloc();
        return static_cast<T *>(obj);
    }
    void deallocate(T *obj, std::size_t count) noexcept {
        if (is_wide)
            hak_free_aligned_sized(obj, alignof(T), count * sizeof(T));
        else
            hak_free_sized(obj, count * sizeof(T));
    }

  private:
    static constexpr bool is_wide = alignof(T) > alignof(std::max_align_t);
};
template <class T, class U> constexpr bool operator==(const allocator<T> &, const allocator<U> &) noexcept {
    return true;
}
template <class T, class U> constexpr bool operator!=(const allocator<T> &, const allocator<U> &) noexcept {
    return false;
}

namespace detail {
template <class T> class typed_resource final : public std::pmr::memory_resource {
    void *do_allocate(std::size_t bytes, std::size_t alignment) override {
        void *obj = alignment > alignof(std::max_align_t)
                        ? hak_aligned_alloc_token(alignment, bytes, token<T>)
                        : hak_malloc_token(bytes, token<T>);
        if (obj == nullptr)
            throw std::bad_alloc();
        return obj;
    }
    void do_deallocate(void *obj, std::size_t bytes, std::size_t alignment) override {
        if (alignment > alignof(std::max_align_t))
            hak_free_aligned_sized(obj, alignment, bytes);
        else
            hak_free_sized(obj, bytes);
    }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        return this == &other;
    }
};
} // namespace detail

/* Returns the memory resource of the type. All its memory has the type's token. It lives as long as the
 * process. */
template <class T> std::pmr::memory_resource *resource() noexcept {
    /* Never destroyed: destructors of other objects may still return memory to it. */
    alignas(detail::typed_resource<T>) static unsigned char room[sizeof(detail::typed_resource<T>)];
    static std::pmr::memory_resource *const one = new (room) detail::typed_resource<T>;
    return one;
}

} // namespace hakmem

#endif /* HAKMEM_HPP */
