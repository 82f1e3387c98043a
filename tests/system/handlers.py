"""Handler scripts of the tests, and what they share."""

# Every handler starts with this: it stamps the journal without starting a
# program, and holds a lock per user for as long as any process of it lives.
PRELUDE = r"""#!/bin/bash
BASE=@BASE@
stamp() {
	local name=${SPOOL_NAME//%/%25}
	name=${name// /%20}
	name=${name//$'\n'/%0A}
	local code=${2:-}
	printf '%s %s000 %s %s %s %s %s%s\n' "$1" "${EPOCHREALTIME//[.,]/}" "$SPOOL_USER" \
		"$name" "$SPOOL_JOB" "$SPOOL_ATTEMPT" "$$" "${code:+ $code}" >>"$BASE/journal"
}
report() { printf '%s\n' "$1" >&"$SPOOL_REPORT_FD"; }
# Waits until the test lets this file go; ends with the exit code it was given.
gate() {
	local code=0
	until [ -e "$BASE/gate/$SPOOL_NAME" ] || [ -e "$BASE/gate/all" ]; do sleep 0.05; done
	[ -e "$BASE/gate/$SPOOL_NAME" ] && read -r code <"$BASE/gate/$SPOOL_NAME"
	exit "$code"
}
stamp_start() {
	exec 9>>"$BASE/locks/$SPOOL_USER"
	if @LOCK@ flock -n 9; then stamp start; else stamp overlap; fi
	trap 'stamp end $?' EXIT
}
stamp_start
"""

OK = "exit 0\n"
GATE = "gate\n"
# bad* fails, the rest succeeds.
BAD_FAILS = """case $SPOOL_NAME in
bad*) echo "cannot digest $SPOOL_NAME" >&2; exit 1 ;;
esac
exit 0
"""


def script(base, body, lock=True):
    """A handler for the spool in `base`. `lock`: attempts of a user must not overlap."""
    prelude = PRELUDE.replace("@BASE@", base).replace("@LOCK@", "" if lock else "true ||")
    return prelude + body
