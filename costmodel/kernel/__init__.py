"""The event loop: every request of the run, exactly; nothing per request is kept.

One pass in time order. A request arrives (`arrivals`), queues for the student, is batched with what
queued while the last batch ran (`student`), draws how sure the student is, is kept, escalated,
degraded or refused (`decision`), and, when the teacher is asked (`teacher`), competes there for
slots and rate limits (`api_teacher`) or for engine steps (`hosted_teacher`). Statistics are
counters, sums and logarithmic histograms (`tally`); memory grows with what is in flight, never with
requests.

All that a run is told stands in one record `p`, all of its state in one record `x` (`layout`),
which also holds the addresses of what there is many of; compiled functions take these two, never
arrays.

Units: seconds, tokens, requests per second.
"""
