// Brings the steps of a walk to shared memory for the mma.sync kernels.
//
// Defined before: what kernel-tiles.cu and kernel-walks.cu define, STAGES.

#if LISTS
/** Brings the steps of a walk to shared memory, the next one while one is worked on. What was copied before arrives with the first. */
template <class Walk, class Fetch, class Work> __device__ __forceinline__ void stream(Walk& walk, const Fetch& fetch, const Work& work) {
  Step now, next;
  bool more = walk.next(now);
  if (more) fetch(now, 0);
  copies_commit();
  int stage = 0;
  while (more) {
    const bool further = walk.next(next);
    if (STAGES == 2) {
      if (further) fetch(next, stage ^ 1);
      copies_commit();
    }
    copies_wait<STAGES - 1>();
    __syncthreads();
    work(now, stage);
    __syncthreads();
    if (STAGES == 1 && further) {
      fetch(next, 0);
      copies_commit();
    }
    now = next;
    more = further;
    if (STAGES == 2) stage ^= 1;
  }
}
#else
/**
 * Brings the steps of a walk to shared memory, the last one first, the next one while one is worked on. What was copied before arrives with
 * the first.
 */
template <class Walk, class Fetch, class Work> __device__ __forceinline__ void stream(const Walk& walk, const Fetch& fetch, const Work& work) {
  auto stage = [](int i) { return STAGES == 2 ? i & 1 : 0; };
  if (walk.count > 0) fetch(walk.at(walk.count - 1), stage(walk.count - 1));
  copies_commit();
  for (int i = walk.count - 1; i >= 0; i--) {
    if (STAGES == 2) {
      if (i > 0) fetch(walk.at(i - 1), stage(i - 1));
      copies_commit();
    }
    copies_wait<STAGES - 1>();
    __syncthreads();
    work(walk.at(i), stage(i));
    __syncthreads();
    if (STAGES == 1 && i > 0) {
      fetch(walk.at(i - 1), 0);
      copies_commit();
    }
  }
}
#endif
