/* How handlers end whose process was made before their order. */
#define READY
#include "runner_kill.c"
