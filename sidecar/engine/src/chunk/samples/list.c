/* A list of named nodes. */
#include <stdlib.h>
#include "list.h"

#define LIST_MAX 64
#define MIN(a, b) \
    ((a) < (b) ? (a) : (b))

struct node;
int list_push(struct list *list, const char *name);

typedef struct node {
    struct node *next;
    char name[LIST_MAX];
} node_t;

typedef int (*compare_fn)(const void *, const void *);
typedef unsigned long word_t, *word_ptr;
typedef struct { int x, y; } point;

enum color { RED, GREEN = 4 };

union value {
    long number;
    char *text;
};

static const char *const names[] = {"one", "two"};
int verbose = 0, *counter;
extern int declared_elsewhere;

#ifdef DEBUG
/* Prints every node. */
static void
dump(const node_t *head)
{
    for (; head; head = head->next)
        puts(head->name);
}
#endif

/*
 * Finds a node by its name; NULL when there is none.
 */
struct node *list_find(struct node *head, const char *name)
{
    static int calls;
    while (head != NULL) {
        if (strcmp(head->name, name) == 0) {
            return head;
        }
        head = head->next;
    }
    return NULL;
}

int (*choose(int kind))(int) { return kind ? first : second; }
EXPORT_API(int) list_size(node_t *head) { return head ? 1 + list_size(head->next) : 0; }
