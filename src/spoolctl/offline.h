/* Answers without a daemon: read from configuration and index, read-only, in
 * the shape the daemon gives them. Each function says on stderr that no daemon
 * answers, and returns CTL_NO_DAEMON with *ret filled, or another code (then
 * the reason is said and *ret is NULL). Logs have rules of their own. */
#pragma once

#include "spoolctl/spoolctl.h"
#include "io/index_json.h"

/* `idle_max`: where there are more users, idle ones are summed up; -1 = never. */
int offline_status(struct ctl *ctl, const char *user, int64_t idle_max, json_t **ret);
int offline_list(struct ctl *ctl, const struct index_json_filter *filter, json_t **ret);
int offline_show(struct ctl *ctl, uint64_t id, json_t **ret);
int offline_explain_job(struct ctl *ctl, uint64_t id, json_t **ret);
int offline_explain_path(struct ctl *ctl, const char *path, json_t **ret);

/* The log of a job, piece by piece as from the daemon. It is the same whether one runs or not,
 * and so are the exit codes: 0, or 1 where there is no such job or log. CTL_NO_DAEMON: that
 * cannot be told, or not be read by this account. */
struct offline_log;
int offline_log_open(struct ctl *ctl, struct offline_log **ret);
/* `followed`: some of it was read before. That it is gone since is no error then. */
int offline_log_read(struct offline_log *log, uint64_t id, uint64_t offset, bool followed,
                     json_t **ret);
void offline_log_close(struct offline_log *log);
