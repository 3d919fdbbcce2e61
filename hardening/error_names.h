/* error_names.h: the names of errors in reports (docs/REPORTS.md), one literal each. */
#ifndef HAK_ERROR_NAMES_H
#define HAK_ERROR_NAMES_H

#define HAK_ERROR_DOUBLE_FREE     "double free"
#define HAK_ERROR_INVALID_FREE    "invalid free"
#define HAK_ERROR_INTERIOR_FREE   "interior free"
#define HAK_ERROR_MISALIGNED_FREE "misaligned free"
#define HAK_ERROR_REALLOC         "invalid realloc"
#define HAK_ERROR_USABLE          "invalid usable size"
#define HAK_ERROR_FAMILY          "family mismatch"
#define HAK_ERROR_SIZE            "size mismatch"
#define HAK_ERROR_ALIGNMENT       "alignment mismatch"
#define HAK_ERROR_OVERFLOW        "heap overflow"
#define HAK_ERROR_UNDERFLOW       "heap underflow"
#define HAK_ERROR_WRITE           "write after free"
#define HAK_ERROR_BOUNDS          "out-of-bounds access"
#define HAK_ERROR_USE             "use after free"

#endif
