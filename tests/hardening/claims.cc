// claims.cc: a program that states wrong claims when it frees its objects. No object may suffer from that. Run by
// claims_test.py under each variant's .so. `claims repeat N`, `claims sites`, `claims resizes`, `claims wild`, `claims
// one CLAIM`; prints "done" at the end.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

extern "C" void free_sized(void *obj, size_t size) __attribute__((weak));
extern "C" void free_aligned_sized(void *obj, size_t alignment, size_t size) __attribute__((weak));
extern "C" void *rallocx(void *obj, size_t size, int flags) __attribute__((weak));
extern "C" void sdallocx(void *obj, size_t size, int flags) __attribute__((weak));
extern "C" size_t xallocx(void *obj, size_t size, size_t extra, int flags) __attribute__((weak));

namespace {

void *hide(void *obj) {
    void *volatile hidden = obj;
    return hidden;
}

// Each is one call site of the program.
__attribute__((noinline)) void wrong_size(size_t size, size_t claimed) {
    free_sized(hide(malloc(size)), claimed);
}
__attribute__((noinline)) void wrong_sdallocx(size_t size, size_t claimed) {
    sdallocx(hide(malloc(size)), claimed, 0);
}
__attribute__((noinline)) void wrong_family(size_t size) {
    ::operator delete(hide(malloc(size)));
}
__attribute__((noinline)) void other_family(size_t size) {
    free(hide(::operator new(size)));
}
__attribute__((noinline)) void wrong_array(size_t size) {
    ::operator delete[](hide(::operator new(size)));
}
__attribute__((noinline)) void wrong_delete(size_t size, size_t claimed) {
    ::operator delete(hide(::operator new(size)), claimed);
}
__attribute__((noinline)) void wrong_alignment(size_t size, size_t alignment) {
    free_aligned_sized(hide(aligned_alloc(64, size)), alignment, size);
}
__attribute__((noinline)) void wrong_realloc(size_t size) {
    free(hide(realloc(hide(::operator new(size)), size + 40)));
}

// The same as the three above, each at two call sites.
template <int place> __attribute__((noinline)) void wrong_resizes(size_t size) {
    free(hide(realloc(hide(::operator new(size)), 4 * size + place)));
    free(hide(rallocx(hide(::operator new(size)), 4 * size + place, 0x40)));
    void *obj = hide(::operator new(size));
    xallocx(obj, size + place, 1 << 20, 0);
    ::operator delete(obj);
}

void resizes() {
    for (int i = 0; i < 20; i++)
        for (size_t size : {40, 3000}) {
            wrong_resizes<1>(size);
            wrong_resizes<2>(size);
        }
}

void repeat(int times) {
    for (int i = 0; i < times; i++)
        wrong_size(100, 99);
}

void sites() {
    for (int i = 0; i < 50; i++) {
        wrong_size(100, 101);
        wrong_family(40);
        other_family(48);
        wrong_array(56);
        wrong_alignment(128, 32);
        wrong_sdallocx(100, 5000);
        sdallocx(malloc(100), 100, 0);
    }
}

// Live objects between the wrong claims: they keep their contents, and no object that is handed out overlaps them.
struct kept {
    unsigned char *obj;
    size_t size;
    unsigned char is;
};

void check(const kept &one) {
    for (size_t i = 0; i < one.size; i++)
        if (one.obj[i] != one.is) {
            printf("an object was overwritten\n");
            exit(1);
        }
}

void wild() {
    static const size_t sizes[] = {1, 16, 100, 1000, 5000, 70000, 262144, 300000, 2000000};
    static const size_t claims[] = {0, 1, 15, 4096, 262144, 1u << 30, SIZE_MAX / 2, SIZE_MAX - 1, SIZE_MAX};
    std::vector<kept> live;
    unsigned char next = 1;
    for (int round = 0; round < 3; round++)
        for (size_t size : sizes) {
            for (size_t claimed : claims) {
                auto *obj = static_cast<unsigned char *>(malloc(size));
                memset(obj, next, size);
                live.push_back({obj, size, next});
                next = static_cast<unsigned char>(next % 250 + 1);
                wrong_size(size, claimed);
                wrong_delete(size, claimed);
                wrong_alignment(size / 64 * 64 + 64, claimed);
            }
            wrong_family(size);
            other_family(size);
            wrong_array(size);
            wrong_realloc(size);
        }
    for (const kept &one : live)
        check(one);
    for (const kept &one : live)
        free(one.obj);
}

void one(const char *claim) {
    if (strcmp(claim, "size") == 0)
        wrong_size(100, 1234567);
    else if (strcmp(claim, "family") == 0)
        wrong_array(56);
    else if (strcmp(claim, "free") == 0)
        other_family(48);
    else if (strcmp(claim, "alignment") == 0)
        wrong_alignment(128, 4096);
    else if (strcmp(claim, "no power of two") == 0)
        wrong_alignment(128, 33);
}

} // namespace

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "repeat") == 0)
        repeat(atoi(argv[2]));
    else if (argc > 1 && strcmp(argv[1], "sites") == 0)
        sites();
    else if (argc > 1 && strcmp(argv[1], "resizes") == 0)
        resizes();
    else if (argc > 1 && strcmp(argv[1], "wild") == 0)
        wild();
    else if (argc > 2)
        one(argv[2]);
    puts("done");
    return 0;
}
