/* resolver_library.h: see resolver_library.c. */
#ifndef HAK_TESTS_RESOLVER_LIBRARY_H
#define HAK_TESTS_RESOLVER_LIBRARY_H

int resolver_ask(void); /* 5, read from memory that the resolver allocated */
void resolver_end(void);

#endif
