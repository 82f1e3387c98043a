/* Answers without a daemon: read from configuration and index, read-only, in
 * the shape the daemon gives them. Each function says on stderr that no daemon
 * answers, and returns CTL_NO_DAEMON with *ret filled, or another code (then
 * the reason is said and *ret is NULL). */
#pragma once

#include "spoolctl/spoolctl.h"
#include "io/index_json.h"

/* `idle_max`: where there are more users, idle ones are summed up; -1 = never. */
int offline_status(struct ctl *ctl, const char *user, int64_t idle_max, json_t **ret);
int offline_list(struct ctl *ctl, const struct index_json_filter *filter, json_t **ret);
int offline_show(struct ctl *ctl, uint64_t id, json_t **ret);
int offline_explain_job(struct ctl *ctl, uint64_t id, json_t **ret);
int offline_explain_path(struct ctl *ctl, const char *path, json_t **ret);
