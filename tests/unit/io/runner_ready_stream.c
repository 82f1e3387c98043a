/* Stream handlers whose process was made before their first order. */
#define READY
#include "runner_stream.c"
