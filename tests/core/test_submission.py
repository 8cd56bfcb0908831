"""Submissions: the same request has the same id, and what a new request means where jobs are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raypipe.core.submission import Attach, Finished, Job, JobState, Start, Submission, decide_submission, job_of

WANTED = Submission.of("flights", request=["run"], now=["a.csv"])


def job(attempt=1, state=JobState.SUCCEEDED, of=WANTED, **facts):
    return Job(
        job_id=of.job_id(attempt), pipeline=of.pipeline, request=of.request, plan=of.plan, attempt=attempt, state=state, **facts
    )


class TestIdentity:
    def test_the_same_request_over_the_same_source_has_the_same_id_everywhere(self):
        again = Submission.of("flights", request=["run"], now=["a.csv"])
        assert again.job_id(1) == WANTED.job_id(1) == f"raypipe-flights-{WANTED.plan[:12]}-1"

    @pytest.mark.parametrize(
        "other",
        [
            Submission.of("flights", request=["run", "--start", "2013-01-02"], now=["a.csv"]),
            Submission.of("flights", request=["run"], now=["a.csv", "b.csv"]),
            Submission.of("planes", request=["run"], now=["a.csv"]),
        ],
    )
    def test_another_request_source_or_pipeline_has_another(self, other):
        assert other.job_id(1) != WANTED.job_id(1)

    def test_a_job_is_found_again_by_what_it_tells_of_itself(self):
        assert job_of("x-2", WANTED.metadata(2), JobState.FAILED, returned=1) == replace(
            job(2, JobState.FAILED, returned=1), job_id="x-2"
        )

    @pytest.mark.parametrize("metadata", [{}, {"job_name": "x"}, {**WANTED.metadata(1), "raypipe_attempt": "first"}])
    def test_jobs_of_others_are_none_of_ours(self, metadata):
        assert job_of("x", metadata, JobState.RUNNING) is None


class TestDecision:
    def test_what_nobody_does_is_started(self):
        assert decide_submission(WANTED, []) == Start(1)

    @pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING])
    def test_what_goes_on_is_attached_to_even_where_new_input_has_come(self, state):
        running = job(state=state)
        later = Submission.of("flights", request=["run"], now=["a.csv", "b.csv"])
        assert decide_submission(WANTED, [running]) == decide_submission(later, [running], again=True) == Attach(running)

    def test_what_is_finished_is_told_and_done_again_only_when_asked(self):
        done = job(3)
        assert decide_submission(WANTED, [done]) == Finished(done)
        assert decide_submission(WANTED, [done], again=True) == Start(4)

    def test_new_input_after_the_end_is_a_new_submission(self):
        assert decide_submission(Submission.of("flights", request=["run"], now=["b.csv"]), [job()]) == Start(1)

    @pytest.mark.parametrize("state", [JobState.FAILED, JobState.STOPPED])
    def test_what_failed_or_was_stopped_is_resumed_by_the_next_attempt(self, state):
        jobs = [job(1, state, started_us=5), job(2, state, started_us=3)]
        assert decide_submission(WANTED, jobs) == Start(3, jobs[1])

    def test_another_pipeline_with_the_same_fingerprints_is_another(self):
        assert decide_submission(WANTED, [replace(job(state=JobState.RUNNING), pipeline="planes")]) == Start(1)


@pytest.mark.parametrize(
    ("state", "returned", "code"),
    [
        (JobState.RUNNING, None, None),
        (JobState.SUCCEEDED, 0, 0),
        (JobState.SUCCEEDED, None, 0),
        (JobState.FAILED, 3, 3),
        (JobState.FAILED, -9, 137),
        (JobState.FAILED, None, 1),
        (JobState.STOPPED, None, 143),
    ],
)
def test_the_exit_code_is_that_of_the_run(state, returned, code):
    assert job(1, state, returned=returned).exit_code == code
