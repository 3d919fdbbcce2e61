/* module.c: see module.h. Sources: ELF gABI, chapter 5 (dynamic section, symbols); for the hash table, binutils'
 * description of DT_GNU_HASH: header, filter, buckets, chains of hashes whose lowest bit ends a chain. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "allocator/os/module.h"

#include <elf.h>
#include <link.h>
#include <string.h>

/* The tables that a module's dynamic section names. */
typedef struct tables {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash;
    size_t soname; /* offset into strings; 0: none */
} tables;

/* The address of a table. glibc has relocated most of these pointers in place, but not those in a read-only
 * section, such as the vDSO's. */
static const void *at(const struct dl_phdr_info *module, ElfW(Addr) value) {
    return (const void *)(value < module->dlpi_addr ? value + module->dlpi_addr : value);
}

static tables tables_of(const struct dl_phdr_info *module, const ElfW(Dyn) * entry) {
    tables found = {0};
    for (; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            found.symbols = at(module, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_STRTAB)
            found.strings = at(module, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_GNU_HASH)
            found.hash = at(module, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_SONAME)
            found.soname = entry->d_un.d_val;
    }
    return found;
}

static uint32_t hash_of(const char *name) {
    uint32_t hash = 5381;
    for (; *name != 0; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static bool defines(const tables *in, const char *name) {
    if (in->hash == NULL || in->symbols == NULL || in->strings == NULL)
        return false;
    uint32_t buckets = in->hash[0], first = in->hash[1], filter_words = in->hash[2], hash = hash_of(name);
    const uint32_t *bucket = in->hash + 4 + filter_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = bucket + buckets;
    uint32_t i = buckets != 0 ? bucket[hash % buckets] : 0;
    for (bool more = i >= first && i != 0; more; i++) {
        more = (chain[i - first] & 1) == 0;
        if (((chain[i - first] ^ hash) | 1) == 1 && strcmp(in->strings + in->symbols[i].st_name, name) == 0)
            return true;
    }
    return false;
}

static bool is_called(const tables *module, const char *start_of_soname) {
    return module->soname != 0 && module->strings != NULL &&
           strncmp(module->strings + module->soname, start_of_soname, strlen(start_of_soname)) == 0;
}

static bool is_cxx_library(const tables *module) {
    static const char *const names[] = {"libstdc++.so", "libc++.so", "libc++abi.so"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_called(module, names[i]))
            return true;
    return false;
}

static bool is_ours(const struct dl_phdr_info *module) {
    bool ours = false;
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        ours |= part->p_type == PT_LOAD &&
                (uintptr_t)&is_ours - (module->dlpi_addr + part->p_vaddr) < part->p_memsz;
    }
    return ours;
}

/* The module's tables; empty when it has no dynamic section. */
static tables tables_in(const struct dl_phdr_info *module) {
    for (unsigned i = 0; i < module->dlpi_phnum; i++)
        if (module->dlpi_phdr[i].p_type == PT_DYNAMIC)
            return tables_of(module, (const ElfW(Dyn) *)(module->dlpi_addr + module->dlpi_phdr[i].p_vaddr));
    return (tables){0};
}

static int look(struct dl_phdr_info *module, size_t size, void *name) {
    (void)size;
    tables found = tables_in(module);
    return !is_ours(module) && !is_cxx_library(&found) && defines(&found, name);
}

bool hak_module_defines(const char *name) {
    return dl_iterate_phdr(look, (void *)name) != 0;
}

/* The module to find, and its code. */
typedef struct search {
    const char *soname;
    uintptr_t start, end;
} search;

static int look_for_code(struct dl_phdr_info *module, size_t size, void *out) {
    (void)size;
    search *its = out;
    tables found = tables_in(module);
    if (!is_called(&found, its->soname))
        return 0;
    for (unsigned i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0)
            continue;
        its->start = module->dlpi_addr + part->p_vaddr;
        its->end = its->start + part->p_memsz;
    }
    return 1;
}

bool hak_module_code(const char *soname, uintptr_t *start, uintptr_t *end) {
    search its = {soname, 0, 0};
    (void)dl_iterate_phdr(look_for_code, &its);
    *start = its.start;
    *end = its.end;
    return its.start != 0;
}

static int add_tls(struct dl_phdr_info *module, size_t size, void *sum) {
    (void)size;
    for (unsigned i = 0; i < module->dlpi_phnum; i++)
        if (module->dlpi_phdr[i].p_type == PT_TLS)
            *(size_t *)sum += module->dlpi_phdr[i].p_memsz + module->dlpi_phdr[i].p_align;
    return 0;
}

size_t hak_module_tls(void) {
    size_t sum = 0;
    (void)dl_iterate_phdr(add_tls, &sum);
    return sum;
}
