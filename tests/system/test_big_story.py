"""Many users, many files, and everything is killed in between."""

import os
import random
import threading
import time

import procs
from harness import SystemTest, limit

USERS = int(os.environ.get("SPOOLD_STORY_USERS", "100"))
FILES = int(os.environ.get("SPOOLD_STORY_FILES", "50"))
KILLS = 5


class BigStory(SystemTest):
    def drop_all(self, spool, users, order):
        """Each user's files in the order of their numbers, users mixed."""
        names = [f"{n:03}.csv" for n in range(FILES)]
        for index in range(FILES):
            for user in random.Random(index).sample(users, len(users)):
                either = random.Random(f"{user}{index}").choice(("cp", "mv"))
                how = "mv" if order == "mv" else either
                spool.drop(user, names[index], how=how)

    def done(self, spool, users):
        return sum(len(spool.files(user, "done")) for user in users)

    def wreck(self, spool, users, total, rng):
        """Kills the daemon a few times, workers more often, at moments spread
        over the work."""
        for kill in range(1, KILLS + 1):
            goal = total * kill // (KILLS + 1)
            spool.wait_for(lambda: self.done(spool, users) >= goal, 240, f"{goal} of {total}")
            for worker in rng.sample(spool.workers(), k=min(1, len(spool.workers()))):
                procs.kill(worker)
                self.worker_kills += 1
            if rng.random() < 0.5:
                time.sleep(rng.random() / 20)
            spool.kill9()
            spool.restart()
            self.daemon_kills += 1

    def tell(self, spool, users, total):
        missing = {u: sorted(set(f"{n:03}.csv" for n in range(FILES))
                             - set(spool.files(u, "done"))) for u in users}
        return {u: names for u, names in missing.items() if names}

    @limit(600)
    def test_everything_once_in_order(self):
        """Promises 1 to 4 and 6, with daemon and workers killed in the middle:
        every file in done exactly once, per user in order, never two attempts
        of a user side by side, no orphan."""
        self.worker_kills = self.daemon_kills = 0
        users = [f"user{n:03}" for n in range(USERS)]
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 4}},
                           users=users)
        rng = random.Random(int(os.environ.get("SPOOLD_STORY_SEED", "1")))
        uploads = threading.Thread(target=self.drop_all, args=(spool, users, "mv"))
        uploads.start()
        total = USERS * FILES
        try:
            self.wreck(spool, users, total, rng)
        finally:
            uploads.join()
        spool.wait_for(lambda: self.done(spool, users) == total, 300, "every file in done")
        self.assertEqual(self.tell(spool, users, total), {})
        self.check_story(spool, users, total)

    def check_story(self, spool, users, total):
        orders, more = {}, 0
        for stamp in spool.journal.starts():
            orders.setdefault(stamp.user, {}).setdefault(stamp.name, []).append(stamp)
        for user in users:
            self.assertEqual(list(orders[user]), [f"{n:03}.csv" for n in range(FILES)], user)
            for name, stamps in orders[user].items():
                self.assertEqual(len({s.job for s in stamps}), 1, f"{user}/{name}: one job")
                attempts = [s.attempt for s in stamps]
                self.assertEqual(attempts, sorted(set(attempts)), f"{user}/{name}: each once")
                more += len(stamps) - 1
        # Only what a kill interrupted is repeated.
        self.assertLessEqual(more, self.worker_kills)
        spool.wait_for(lambda: sum(u["done"] for u in spool.status()["users"]) == total,
                       what="the index to know all as done")
        self.assertEqual(sum(u["pending"] + u["processing"] + u["queued"] + u["arriving"]
                             + u["failed"] for u in spool.status()["users"]), 0)

    @limit(300)
    def test_cp_and_mv_mixed_without_kills(self):
        """Promise 1 at a smaller scale, with uploads of both kinds."""
        users = [f"user{n}" for n in range(max(2, USERS // 10))]
        spool = self.spool({"scheduler_settings": {"max_concurrent_jobs": 4}}, users=users)
        self.drop_all(spool, users, "mixed")
        total = len(users) * FILES
        spool.wait_for(lambda: self.done(spool, users) == total, 200, "every file in done")
        self.assertEqual(len(spool.journal.starts()), total)
