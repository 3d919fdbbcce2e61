/* list.h: a doubly linked ring with a head, for descriptors, never for objects. Layer 0. The lock of the head's
 * owner guards every link in the ring. */
#ifndef HAK_LIST_H
#define HAK_LIST_H

#include "allocator/base/check.h"

typedef struct hak_link {
    struct hak_link *next, *prev;
} hak_link;

/* The struct of type `owner` whose field `member` is `link`. */
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

/* Puts `link` in the place of `old`, which is then in no list. */
HAK_INLINE void hak_list_replace(hak_link *old, hak_link *link) {
    HAK_CHECK(old->next->prev == old && old->prev->next == old, "list links do not agree");
    *link = *old;
    link->next->prev = link->prev->next = link;
    old->next = old->prev = NULL;
}

/* Checked unlinking: if the neighbours disagree, a descriptor was overwritten (glibc added this check in 2004). */
HAK_INLINE void hak_list_remove(hak_link *link) {
    HAK_CHECK(link->next->prev == link && link->prev->next == link, "list links do not agree");
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = NULL;
}

#endif
