/* The recovery table of DESIGN section 4, cell by cell. Each row of the design
 * is an array here; where the code has two rows for one of the design (a job
 * that waits may lie in incoming or, between two attempts, in its private
 * directory), each of them is an array. */
#include "core/reconcile.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

struct cell {
	const char *design;
	enum remedy free;   /* nobody else has the user's lock */
	enum remedy locked; /* somebody has */
};

static void check_cell(const struct cell *cell, const char *row, enum seen seen, enum remedy free,
                       enum remedy locked)
{
	cr_assert_not_null(cell->design, "%s, %s: no cell", row, seen_name(seen));
	cr_expect_eq(free, cell->free, "%s, %s: \"%s\" instead of \"%s\" (DESIGN: %s)", row,
	             seen_name(seen), remedy_name(free), remedy_name(cell->free), cell->design);
	cr_expect_eq(locked, cell->locked,
	             "%s, %s, lock held: \"%s\" instead of \"%s\" (DESIGN: %s)", row,
	             seen_name(seen), remedy_name(locked), remedy_name(cell->locked), cell->design);
}

static void check_row(const struct cell row[SEENS], enum job_state state, enum place place)
{
	char name[64];
	snprintf(name, sizeof name, "%s in %s", job_state_name(state), place_name(place));
	for (int s = 0; s < SEENS; s++) {
		enum seen seen = (enum seen)s;
		check_cell(&row[seen], name, seen, reconcile_job(state, place, seen, false),
		           reconcile_job(state, place, seen, true));
	}
}

Test(reconcile, promise_1_index_says_nothing)
{
	static const struct cell row[SEENS] = {
		[SEEN_INCOMING] = {"new upload", REMEDY_NEW_UPLOAD, REMEDY_NEW_UPLOAD},
		[SEEN_INCOMING_OTHER] = {"new upload", REMEDY_NEW_UPLOAD, REMEDY_NEW_UPLOAD},
		[SEEN_PROCESSING] = {"adopt, back to the line as interrupted", REMEDY_ADOPT,
		                     REMEDY_WAIT},
		[SEEN_RESULT] = {"adopt; promise 6: its result is never thrown away",
		                 REMEDY_APPLY_RESULT, REMEDY_APPLY_RESULT},
		[SEEN_FINAL_DONE] = {"leave, adopt as history when asked", REMEDY_LEAVE,
		                     REMEDY_LEAVE},
		[SEEN_FINAL_FAILED] = {"leave, adopt as history when asked", REMEDY_LEAVE,
		                       REMEDY_LEAVE},
		[SEEN_NOWHERE] = {"–", REMEDY_NOTHING, REMEDY_NOTHING},
	};
	for (int s = 0; s < SEENS; s++) {
		enum seen seen = (enum seen)s;
		check_cell(&row[seen], "no job", seen, reconcile_file(seen, false),
		           reconcile_file(seen, true));
	}
}

/* A job that waits and was never claimed: its file belongs in incoming. */
Test(reconcile, promise_2_pending_in_incoming)
{
	static const struct cell row[SEENS] = {
		[SEEN_INCOMING] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
		[SEEN_INCOMING_OTHER] = {"changed: the upload is judged again", REMEDY_JUDGE_AGAIN,
		                         REMEDY_JUDGE_AGAIN},
		[SEEN_PROCESSING] = {"rename was early: put right by policy", REMEDY_INTERRUPTED,
		                     REMEDY_WAIT},
		[SEEN_RESULT] = {"rename was early; promise 6: its result is never thrown away",
		                 REMEDY_APPLY_RESULT, REMEDY_APPLY_RESULT},
		[SEEN_FINAL_DONE] = {"finished outside: record it", REMEDY_RECORD_DONE,
		                     REMEDY_RECORD_DONE},
		[SEEN_FINAL_FAILED] = {"finished outside: record it", REMEDY_RECORD_FAILED,
		                       REMEDY_RECORD_FAILED},
		[SEEN_NOWHERE] = {"canceled, \"withdrawn\"", REMEDY_WITHDRAWN, REMEDY_WITHDRAWN},
	};
	check_row(row, JOB_PENDING, PLACE_INCOMING);
}

Test(reconcile, promise_2_held_in_incoming)
{
	static const struct cell row[SEENS] = {
		[SEEN_INCOMING] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
		[SEEN_INCOMING_OTHER] = {"changed: the upload is judged again", REMEDY_JUDGE_AGAIN,
		                         REMEDY_JUDGE_AGAIN},
		[SEEN_PROCESSING] = {"rename was early: put right; it stays held", REMEDY_PARK,
		                     REMEDY_PARK},
		[SEEN_RESULT] = {"rename was early; promise 6: its result is never thrown away",
		                 REMEDY_APPLY_RESULT, REMEDY_APPLY_RESULT},
		[SEEN_FINAL_DONE] = {"finished outside: record it", REMEDY_RECORD_DONE,
		                     REMEDY_RECORD_DONE},
		[SEEN_FINAL_FAILED] = {"finished outside: record it", REMEDY_RECORD_FAILED,
		                       REMEDY_RECORD_FAILED},
		[SEEN_NOWHERE] = {"canceled, \"withdrawn\"", REMEDY_WITHDRAWN, REMEDY_WITHDRAWN},
	};
	check_row(row, JOB_HELD, PLACE_INCOMING);
}

/* A refinement of the design's row "pending, held": between two attempts, and
 * after an operator's retry, the file belongs in its private directory. */
Test(reconcile, promise_3_pending_or_held_parked)
{
	static const struct cell row[SEENS] = {
		/* A power cut undid the rename of the claim. */
		[SEEN_INCOMING] = {"fine", REMEDY_CLAIM_AGAIN, REMEDY_WAIT},
		[SEEN_INCOMING_OTHER] = {"file vanished; what is there is found as a new upload",
		                         REMEDY_VANISHED, REMEDY_VANISHED},
		[SEEN_PROCESSING] = {"fine: it belongs there", REMEDY_NOTHING, REMEDY_NOTHING},
		[SEEN_RESULT] = {"promise 6: its result is never thrown away", REMEDY_APPLY_RESULT,
		                 REMEDY_APPLY_RESULT},
		/* The commit of an operator's retry comes before its rename. */
		[SEEN_FINAL_DONE] = {"redo the rename of the retry", REMEDY_MOVE_BACK, REMEDY_WAIT},
		[SEEN_FINAL_FAILED] = {"redo the rename of the retry", REMEDY_MOVE_BACK,
		                       REMEDY_WAIT},
		[SEEN_NOWHERE] = {"failed, \"file vanished\": no uploader reaches it there",
		                  REMEDY_VANISHED, REMEDY_VANISHED},
	};
	check_row(row, JOB_PENDING, PLACE_PROCESSING);
	check_row(row, JOB_HELD, PLACE_PROCESSING);
}

Test(reconcile, promise_4_queued)
{
	static const struct cell row[SEENS] = {
		/* That its start is not recorded says nothing: that is a later commit. */
		[SEEN_INCOMING] = {"redo the claim, as interrupted; lock held: wait",
		                   REMEDY_INTERRUPTED, REMEDY_WAIT},
		[SEEN_INCOMING_OTHER] = {"the claim finds another file; lock held: wait",
		                         REMEDY_JUDGE_AGAIN, REMEDY_WAIT},
		[SEEN_PROCESSING] = {"lock held: still running, wait; else interrupted",
		                     REMEDY_INTERRUPTED, REMEDY_WAIT},
		[SEEN_RESULT] = {"worker's result there: apply it", REMEDY_APPLY_RESULT,
		                 REMEDY_APPLY_RESULT},
		[SEEN_FINAL_DONE] = {"redo: record the result", REMEDY_RECORD_DONE, REMEDY_WAIT},
		[SEEN_FINAL_FAILED] = {"redo: record the result", REMEDY_RECORD_FAILED,
		                       REMEDY_WAIT},
		[SEEN_NOWHERE] = {"failed, \"file vanished\"", REMEDY_VANISHED, REMEDY_WAIT},
	};
	for (int place = 0; place < PLACES; place++)
		check_row(row, JOB_QUEUED, (enum place)place);
}

Test(reconcile, promise_6_processing)
{
	static const struct cell row[SEENS] = {
		/* The rename was undone, the run was not: an attempt that counts. */
		[SEEN_INCOMING] = {"redo the claim, as interrupted", REMEDY_INTERRUPTED,
		                   REMEDY_WAIT},
		[SEEN_INCOMING_OTHER] = {"failed, \"file vanished\"", REMEDY_VANISHED, REMEDY_WAIT},
		[SEEN_PROCESSING] = {"lock held: still running, wait; else interrupted",
		                     REMEDY_INTERRUPTED, REMEDY_WAIT},
		[SEEN_RESULT] = {"worker's result there: apply it", REMEDY_APPLY_RESULT,
		                 REMEDY_APPLY_RESULT},
		[SEEN_FINAL_DONE] = {"redo: record the result", REMEDY_RECORD_DONE, REMEDY_WAIT},
		[SEEN_FINAL_FAILED] = {"redo: record the result", REMEDY_RECORD_FAILED,
		                       REMEDY_WAIT},
		[SEEN_NOWHERE] = {"failed, \"file vanished\"", REMEDY_VANISHED, REMEDY_WAIT},
	};
	for (int place = 0; place < PLACES; place++)
		check_row(row, JOB_PROCESSING, (enum place)place);
}

static const struct cell final_row[SEENS] = {
	[SEEN_INCOMING] = {"the very file: redo the final rename", REMEDY_MOVE_FINAL, REMEDY_WAIT},
	[SEEN_INCOMING_OTHER] = {"same name, other inode: a new upload", REMEDY_NEW_UPLOAD,
	                         REMEDY_NEW_UPLOAD},
	[SEEN_PROCESSING] = {"redo the final rename", REMEDY_MOVE_FINAL, REMEDY_WAIT},
	[SEEN_RESULT] = {"redo the final rename", REMEDY_MOVE_FINAL, REMEDY_WAIT},
	[SEEN_FINAL_DONE] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
	[SEEN_FINAL_FAILED] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
	[SEEN_NOWHERE] = {"fine until retention, then record \"removed\"", REMEDY_NOTHING,
	                  REMEDY_NOTHING},
};

Test(reconcile, promise_1_done_and_failed)
{
	for (int place = 0; place < PLACES; place++) {
		check_row(final_row, JOB_DONE, (enum place)place);
		check_row(final_row, JOB_FAILED, (enum place)place);
	}
}

/* Canceled by an operator: its file goes to failed, like any other's. */
Test(reconcile, promise_1_canceled_with_its_file)
{
	for (int place = PLACE_INCOMING; place < PLACES; place++)
		check_row(final_row, JOB_CANCELED, (enum place)place);
}

/* A refinement: canceled because the uploader took the file away. What lies in
 * incoming now is the uploader's, even where it is the same file again. */
Test(reconcile, promise_1_canceled_as_withdrawn)
{
	static const struct cell row[SEENS] = {
		[SEEN_INCOMING] = {"put back: a new upload", REMEDY_NEW_UPLOAD, REMEDY_NEW_UPLOAD},
		[SEEN_INCOMING_OTHER] = {"same name, other inode: a new upload", REMEDY_NEW_UPLOAD,
		                         REMEDY_NEW_UPLOAD},
		[SEEN_PROCESSING] = {"redo the final rename", REMEDY_MOVE_FINAL, REMEDY_WAIT},
		[SEEN_RESULT] = {"redo the final rename", REMEDY_MOVE_FINAL, REMEDY_WAIT},
		[SEEN_FINAL_DONE] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
		[SEEN_FINAL_FAILED] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
		[SEEN_NOWHERE] = {"fine", REMEDY_NOTHING, REMEDY_NOTHING},
	};
	check_row(row, JOB_CANCELED, PLACE_NOWHERE);
}

/* The promises, over all cells at once. */

struct situation {
	enum job_state state;
	enum place place;
	enum seen seen;
	bool lock_held;
};

static void each_situation(void (*check)(const struct situation *s, enum remedy remedy))
{
	for (int n = 0; n < JOB_STATES * PLACES * SEENS * 2; n++) {
		struct situation s = {
			.lock_held = n % 2 != 0,
			.seen = (enum seen)(n / 2 % SEENS),
			.place = (enum place)(n / 2 / SEENS % PLACES),
			.state = (enum job_state)(n / 2 / SEENS / PLACES),
		};
		check(&s, reconcile_job(s.state, s.place, s.seen, s.lock_held));
	}
}

#define SITUATION_FORMAT "%s in %s, file %s%s"
#define SITUATION(s) \
	job_state_name((s)->state), place_name((s)->place), seen_name((s)->seen), \
		(s)->lock_held ? ", lock held" : ""

static void check_not_given_up(const struct situation *s, enum remedy remedy)
{
	bool there = s->seen != SEEN_NOWHERE && s->seen != SEEN_INCOMING_OTHER;
	if (there)
		cr_expect(remedy != REMEDY_VANISHED && remedy != REMEDY_WITHDRAWN,
		          SITUATION_FORMAT ": given up", SITUATION(s));
	if (s->seen == SEEN_NOWHERE && !job_state_is_final(s->state))
		cr_expect(remedy == REMEDY_VANISHED || remedy == REMEDY_WITHDRAWN ||
		                  remedy == REMEDY_WAIT,
		          SITUATION_FORMAT ": never ends", SITUATION(s));
}

Test(reconcile, promise_1_no_job_is_given_up_while_its_file_is_there)
{
	each_situation(check_not_given_up);
}

/* Whatever is in its place by the index needs nothing. */
static void check_at_rest(const struct situation *s, enum remedy remedy)
{
	bool waits = s->state == JOB_PENDING || s->state == JOB_HELD;
	bool in_place = (s->place == PLACE_INCOMING && s->seen == SEEN_INCOMING) ||
	                (s->place == PLACE_PROCESSING && s->seen == SEEN_PROCESSING);
	if (waits && in_place)
		cr_expect_eq(remedy, REMEDY_NOTHING, SITUATION_FORMAT, SITUATION(s));
}

Test(reconcile, promise_3_what_waits_in_its_place_keeps_its_place)
{
	each_situation(check_at_rest);
}

static void check_lock(const struct situation *s, enum remedy remedy)
{
	if (job_state_is_active(s->state) && s->lock_held)
		cr_expect(remedy == REMEDY_WAIT || remedy == REMEDY_APPLY_RESULT,
		          SITUATION_FORMAT ": \"%s\" while it may still run", SITUATION(s),
		          remedy_name(remedy));
	if (!s->lock_held)
		cr_expect_neq(remedy, REMEDY_WAIT, SITUATION_FORMAT ": waits for nobody",
		              SITUATION(s));
}

Test(reconcile, promise_4_an_attempt_that_may_still_run_is_left_alone)
{
	each_situation(check_lock);
}

static void check_result(const struct situation *s, enum remedy remedy)
{
	if (s->seen == SEEN_RESULT && !job_state_is_final(s->state))
		cr_expect_eq(remedy, REMEDY_APPLY_RESULT, SITUATION_FORMAT, SITUATION(s));
}

Test(reconcile, promise_6_a_result_is_never_thrown_away)
{
	each_situation(check_result);
}

static void check_counted(const struct situation *s, enum remedy remedy)
{
	if (job_state_is_active(s->state))
		cr_expect(remedy != REMEDY_CLAIM_AGAIN && remedy != REMEDY_NOTHING &&
		                  remedy != REMEDY_PARK,
		          SITUATION_FORMAT ": an attempt is not counted", SITUATION(s));
}

Test(reconcile, promise_6_an_attempt_that_may_have_run_is_always_counted)
{
	each_situation(check_counted);
}

static void check_held(const struct situation *s, enum remedy remedy)
{
	if (s->state == JOB_HELD)
		cr_expect_neq(remedy, REMEDY_INTERRUPTED, SITUATION_FORMAT, SITUATION(s));
}

Test(reconcile, a_crash_releases_no_held_job)
{
	each_situation(check_held);
}

static bool leads_to(enum job_state from, enum job_state to)
{
	bool reached[JOB_STATES] = {0};
	reached[from] = true;
	for (int round = 0; round < JOB_STATES; round++) {
		for (int n = 0; n < JOB_STATES * JOB_EVENTS; n++) {
			enum job_state state = (enum job_state)(n / JOB_EVENTS);
			enum job_event event = (enum job_event)(n % JOB_EVENTS);
			if (reached[state] && event != JOB_EV_REQUEUE &&
			    job_next_state(state, event) >= 0)
				reached[job_next_state(state, event)] = true;
		}
	}
	return reached[to];
}

static void check_can_be_done(const struct situation *s, enum remedy remedy)
{
	static const int ends[REMEDIES] = {
		[REMEDY_NOTHING] = -1,
		[REMEDY_JUDGE_AGAIN] = JOB_CANCELED,
		[REMEDY_WITHDRAWN] = JOB_CANCELED,
		[REMEDY_INTERRUPTED] = JOB_PENDING,
		[REMEDY_PARK] = JOB_HELD,
		[REMEDY_RECORD_DONE] = JOB_DONE,
		[REMEDY_RECORD_FAILED] = JOB_FAILED,
		[REMEDY_CLAIM_AGAIN] = -1,
		[REMEDY_APPLY_RESULT] = JOB_DONE,
		[REMEDY_WAIT] = -1,
		[REMEDY_VANISHED] = JOB_FAILED,
		[REMEDY_MOVE_FINAL] = -1,
		[REMEDY_MOVE_BACK] = -1,
		[REMEDY_NEW_UPLOAD] = -1,
		[REMEDY_ADOPT] = -1,
		[REMEDY_LEAVE] = -1,
	};
	cr_expect(remedy != REMEDY_ADOPT && remedy != REMEDY_LEAVE,
	          SITUATION_FORMAT ": a remedy for files without a job", SITUATION(s));
	if (ends[remedy] >= 0)
		cr_expect(leads_to(s->state, (enum job_state)ends[remedy]),
		          SITUATION_FORMAT ": \"%s\" cannot be done", SITUATION(s),
		          remedy_name(remedy));
	if (remedy == REMEDY_MOVE_FINAL || remedy == REMEDY_NEW_UPLOAD)
		cr_expect(job_state_is_final(s->state), SITUATION_FORMAT ": \"%s\"", SITUATION(s),
		          remedy_name(remedy));
}

Test(reconcile, every_remedy_can_be_done_in_the_state_it_is_given_for)
{
	each_situation(check_can_be_done);
}

Test(reconcile, no_such_place_is_looked_at, .signal = SIGABRT)
{
	reconcile_job(JOB_PENDING, PLACE_INCOMING, SEENS, false);
}

Test(reconcile, no_such_place_is_looked_at_for_a_file, .signal = SIGABRT)
{
	reconcile_file(SEENS, false);
}

Test(reconcile, no_such_state_is_looked_at, .signal = SIGABRT)
{
	reconcile_job(JOB_STATES, PLACE_INCOMING, SEEN_INCOMING, false);
}

Test(reconcile, promise_7_remedies_and_places_have_names_of_their_own)
{
	for (int a = 0; a < REMEDIES; a++) {
		cr_assert_not_null(remedy_name((enum remedy)a));
		for (int b = 0; b < a; b++)
			cr_assert_str_neq(remedy_name((enum remedy)a), remedy_name((enum remedy)b));
	}
	for (int a = 0; a < SEENS; a++) {
		cr_assert_not_null(seen_name((enum seen)a));
		for (int b = 0; b < a; b++)
			cr_assert_str_neq(seen_name((enum seen)a), seen_name((enum seen)b));
	}
}
