/* The bytes of the index: records of jobs, attempts and users.
 *
 * A record starts with its kind and version (one byte each); numbers are
 * little-endian of fixed width, strings a 16-bit length and bytes. Keys (see
 * io/index) are big-endian, so that they sort. Decoding trusts nothing: each
 * length is checked, each enumeration ranged, no byte may be left over. An
 * older version is read, a newer one refused with -EPROTONOSUPPORT. */
#pragma once

#include "core/job.h"

/* A user as the index knows it. */
struct user_row {
	uint32_t number;        /* 1 and up, never reused; the key of its jobs */
	bool held;              /* the line is held */
	char *held_reason;      /* owned; NULL when not held */
	uint64_t count[JOB_STATES]; /* jobs by state */
	bool bytes_known;       /* false in what an older version wrote */
	uint64_t waiting_bytes; /* size of the pending and held jobs together */
};

void user_row_clear(struct user_row *row);

/* Encoders return the number of bytes written into `out`; -EMSGSIZE where
 * `size` is too small (RECORD_MAX is always enough); -EINVAL for what a decoder
 * would refuse: no id, user or number, a path that is missing, empty or longer
 * than JOB_PATH_MAX, a value outside its enumeration. Texts (error, message,
 * held_reason) are cut to JOB_TEXT_MAX. A reason without `held` is left out. */
enum { RECORD_MAX = 16384 };
ssize_t record_put_job(const struct job *job, void *out, size_t size);
ssize_t record_put_attempt(const struct attempt *attempt, void *out, size_t size);
ssize_t record_put_user(const struct user_row *row, void *out, size_t size);

/* Decoders fill `ret` (owned by the caller, to be cleared) and return 0;
 * -EBADMSG: damaged; -EPROTONOSUPPORT: newer; -ENOMEM. `ret` is untouched on
 * failure. */
int record_get_job(const void *data, size_t size, struct job *ret);
int record_get_attempt(const void *data, size_t size, struct attempt *ret);
int record_get_user(const void *data, size_t size, struct user_row *ret);

/* A well-mixed 64-bit hash of a path, the same on every machine and in every
 * version: the index finds jobs by it (and compares the path itself). */
uint64_t record_path_hash(const char *path);
