/* list.h: a doubly linked ring with a head, for descriptors (never for objects). Layer 0.
 * The lock of whoever owns the head guards every link in the ring. */
#ifndef HAK_LIST_H
#define HAK_LIST_H

#include "allocator/base/check.h"

typedef struct hak_link {
    struct hak_link *next, *prev;
} hak_link;

/* A link's `owner` struct, where `member` is the link's name in it. */
#define HAK_OWNER_OF(link, owner, member) ((owner *)((char *)(link) - offsetof(owner, member)))

HAK_INLINE void hak_list_init(hak_link *head) {
    head->next = head->prev = head;
}
HAK_INLINE bool hak_list_empty(const hak_link *head) {
    return head->next == head;
}

HAK_INLINE void hak_list_insert_after(hak_link *at, hak_link *link) {
    link->next = at->next;
    link->prev = at;
    at->next->prev = link;
    at->next = link;
}
HAK_INLINE void hak_list_push(hak_link *head, hak_link *link) {
    hak_list_insert_after(head, link);
}
HAK_INLINE void hak_list_push_back(hak_link *head, hak_link *link) {
    hak_list_insert_after(head->prev, link);
}

/* Puts `link` where `old` is, which is in no list then. */
HAK_INLINE void hak_list_replace(hak_link *old, hak_link *link) {
    HAK_CHECK(old->next->prev == old && old->prev->next == old, "list links do not agree");
    *link = *old;
    link->next->prev = link->prev->next = link;
    old->next = old->prev = NULL;
}

/* Safe unlinking: the neighbours must agree, or a descriptor was overwritten (glibc's lesson of 2004). */
HAK_INLINE void hak_list_remove(hak_link *link) {
    HAK_CHECK(link->next->prev == link && link->prev->next == link, "list links do not agree");
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}

#endif
