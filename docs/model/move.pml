/* The move of one pupil's records between two schools, A and B: claims, fences, holds, receipts.
 *
 * Read docs/explanation/model.md first: what is modelled, what is left out and why that is sound. `make model` runs it.
 *
 * An `atomic` block is one transaction of the code, or one statement of it where a transaction reads something before
 * it has the locks that would make the reading last. Inlines are named as in the code, without a leading underscore:
 *
 *   services/transfer/src/cpro_transfer/handlers/moving.py              labels of the mover: bring_over, bring_home, ...
 *   services/transfer/src/cpro_transfer/adapters/tenant_records.py      prepare, hold, land, finish, release, ...
 *   services/transfer/src/cpro_transfer/adapters/ledger.py              claim, advance, complete, cancel, ...
 *   services/transfer/src/cpro_transfer/adapters/projection.py, join_sql.py   take_in, derive
 *   services/transfer/src/cpro_transfer/adapters/objects.py             copy, discard_copies, remove
 *
 * Without any switch this is the protocol with every guard. `-DNO_...` takes one guard out.
 */

/* How much may happen in one run; the search covers every order in which it may. */
#ifndef CHANGES
#define CHANGES 2               /* changes of a school's mind or roster: a pupil back, gone, an opt-in on or off */
#endif
#ifndef FAULTS
#define FAULTS 2                /* crashes, lost answers, leases slept through, needless retries */
#endif
#ifndef WRITES
#define WRITES 1                /* records that the core application tries to write */
#endif
#ifndef LIES
#define LIES 0                  /* > 0: the join is not believed: it may plan and cancel what it likes, so many times */
#endif
#ifndef MEDDLING
#define MEDDLING 0              /* writes past the guard trigger, and values changed on their way into the destination */
#endif

#define A 0
#define B 1
#define TRANSFERS 3
#define MOST_EPOCHS 12

/* The business key: the origin and its revision. 0: A's first departure, 1: A's second, 2: B's. */
#define ORIGIN(t)           ((t) == 2 -> B : A)
#define DESTINATION(t)      ((t) == 2 -> A : B)
#define ORIGIN_REVISION(t)  ((t) == 0 -> 1 : ((t) == 1 -> 3 : 2))
#define OTHER_OF_ORIGIN(t)  ((t) == 0 -> 1 : 0)

/* ---- The tenants' databases, by school ---- */
byte revision[2];               /* of the pupil: A has lost the pupil at 1, B has the pupil at 1; each change flips it */
byte opt_in[2];                 /* revision of the opt-in; on when odd */
byte rows[2];                   /* the pupil's records, one bit each */
bit records_moved[2];           /* pupil.records_moved_at */
byte hold_transfer[2];          /* transfer_hold of the pupil: 0 none, else the transfer + 1 */
byte hold_epoch[2];
#define ACTIVE(school)    (((revision[school] + (school)) & 1) == 0)
#define OPTED_IN(school)  ((opt_in[school] & 1) == 1)

/* By transfer: what lies in its destination and its origin. */
byte fence[TRANSFERS];          /* transfer_fence at the destination */
byte origin_fence[TRANSFERS];   /* transfer_fence at the origin */
bit incoming[TRANSFERS];        /* transfer_receipt at the destination ... */
byte incoming_tables[TRANSFERS];
bit outgoing[TRANSFERS];        /* ... and at the origin */

/* ---- The transfer database ---- */
mtype = { NONE, PLANNED, HOLDING, COPYING, LANDED, COMPLETED, HELD, CANCELLED };
mtype state[TRANSFERS] = NONE;
byte epoch[TRANSFERS];
bit cancel_requested[TRANSFERS];
byte known_revision[2];         /* enrolment.revision: what the events have said so far */
byte known_opt_in[2];           /* establishment.opt_in_revision */
byte moved_at_revision[2];
#define KNOWN_ACTIVE(school)    (known_revision[school] > 0 && ((known_revision[school] + (school)) & 1) == 0)
#define KNOWN_OPTED_IN(school)  ((known_opt_in[school] & 1) == 1)

/* ---- The object store: the file of the first record ---- */
#ifdef FILES
bit original = 1;               /* A's own object */
int copies[TRANSFERS];          /* by transfer, one bit an epoch */
byte object_key[2];             /* attachment.object_key of each school's row: 0 the original, else transfer * 16 + epoch */
bit removal[TRANSFERS];         /* transfer_object_removal at the origin */
byte removal_key[TRANSFERS];
byte incoming_epoch[TRANSFERS];
#endif

/* ---- What exists only here ---- */
byte written = 1;               /* every record that a school was told is safe */
#define ME  (_pid - 1)
byte working[2];                /* what each mover has in hand: the transfer + 1 */
byte working_epoch[2];
byte changes = CHANGES;
byte faults = FAULTS;
byte writes = WRITES;
byte lies = LIES;
byte meddling = MEDDLING;

/* ==== What must always hold ==== */

/* (1) Each record is in at least one database at every instant: what was acknowledged is never gone. */
#define NOTHING_IS_LOST  ((rows[A] | rows[B]) == written)
/* (2), (3) The databases, not the events, agreed at the moment that counts. */
#define MAY_DEPART(t)    (OPTED_IN(ORIGIN(t)) && !ACTIVE(ORIGIN(t)))
#define MAY_ENTER(t)     (OPTED_IN(DESTINATION(t)) && ACTIVE(DESTINATION(t)))
#ifdef FILES
#define HAS_FILE(school) (!(rows[school] & 1) || (object_key[school] == 0 -> original \
    : ((copies[object_key[school] / 16] >> (object_key[school] % 16)) & 1)))
#define ALL_IS_WELL      (NOTHING_IS_LOST && HAS_FILE(A) && HAS_FILE(B))
#else
#define ALL_IS_WELL      NOTHING_IS_LOST
#endif

/* (1), (4), (5) At rest: each record in exactly one database, nobody kept from writing, every transfer ended, and the
 * records are where the last facts call for them, whatever came before. */
#define CALLED_FOR(school)  (!ACTIVE(school) && ACTIVE(1 - (school)) && OPTED_IN(A) && OPTED_IN(B))
#define ENDED(t)  (state[t] == NONE || state[t] == COMPLETED || state[t] == HELD || state[t] == CANCELLED)
#define CHANGED(t)  (incoming[t] && !outgoing[t] && rows[ORIGIN(t)] != incoming_tables[t])
#if LIES > 0
#define FOLLOWED  true
#else
#define FOLLOWED  (!(CALLED_FOR(A) && rows[A]) && !(CALLED_FOR(B) && rows[B]))
#endif
/* Who writes past the guard is found out, and then nothing is deleted: a person must look (records_changed). */
#define PAST_THE_GUARD      128
#define A_PERSON_MUST_LOOK  ((written & PAST_THE_GUARD) && (CHANGED(0) || CHANGED(1) || CHANGED(2)))
#define IN_ONE_PLACE   ((rows[A] & rows[B]) == 0)
#if LIES > 0
/* Opposite transfers may wait for each other until the join says what is true; it never does. */
#define FREE_AT_REST(school)  (hold_transfer[school] == 0 || IN_HAND(hold_transfer[school] - 1))
#define ALL_ENDED      ((ENDED(0) || BLOCKED(0)) && (ENDED(2) || BLOCKED(2)))
#else
#define FREE_AT_REST(school)  (hold_transfer[school] == 0)
#define ALL_ENDED      (ENDED(0) && ENDED(1) && ENDED(2))
#endif

/* ==== The join: events propose ==== */

#define IN_HAND(t)  (state[t] == HOLDING || state[t] == COPYING || state[t] == LANDED)
#define VERDICT_MOVE(t)  (known_revision[ORIGIN(t)] == ORIGIN_REVISION(t) && moved_at_revision[ORIGIN(t)] < ORIGIN_REVISION(t) \
    && KNOWN_ACTIVE(DESTINATION(t)) && KNOWN_OPTED_IN(A) && KNOWN_OPTED_IN(B))

/* One of an origin at a time; what has been completed is not planned again. */
#ifdef NO_ONE_AT_A_TIME
#define PLANNABLE(t)  (state[t] == NONE || state[t] == CANCELLED)
#else
#define PLANNABLE(t)  ((state[t] == NONE || state[t] == CANCELLED) && !(ORIGIN(t) == A && IN_HAND(OTHER_OF_ORIGIN(t))))
#endif

#ifdef NO_HIGHEST_REVISION
bit old_one_came;
#define OLD_ONE_CAME  old_one_came
#else
#define OLD_ONE_CAME  false
#endif

inline derive_one(x) {
    if
    :: VERDICT_MOVE(x) -> cancel_requested[x] = 0                                            /* LET_GO_ON */
    :: else ->
        if                                                                                  /* CANCEL */
        :: state[x] == PLANNED || state[x] == HELD -> state[x] = CANCELLED
        :: state[x] == HOLDING || state[x] == COPYING -> cancel_requested[x] = 1
        :: else
        fi
    fi
}

inline plan_one(x) {
    if
    :: VERDICT_MOVE(x) && PLANNABLE(x) -> state[x] = PLANNED; cancel_requested[x] = 0       /* PLAN */
    :: else
    fi
}

/* Inside the caller's transaction. */
inline derive() {
#if LIES == 0
    derive_one(0); derive_one(1); derive_one(2);
    plan_one(0); plan_one(1); plan_one(2)
#else
    skip
#endif
}

/* A batch of events in one transaction. Events come late, and some never in their turn: the highest revision counts, so
 * a later one may come first, and then those before it, and all that come twice, change nothing. */
inline take_in() {
    if
#ifdef NO_HIGHEST_REVISION
    :: atomic { known_revision[A] > 1 && known_revision[A] == revision[A] && !old_one_came -> /* the last to come is old */
            old_one_came = 1; known_revision[A]--; derive() }
#endif
    :: atomic { known_revision[A] < revision[A] && !OLD_ONE_CAME -> known_revision[A]++; derive() }
    :: atomic { known_revision[A] + 1 < revision[A] && !OLD_ONE_CAME -> known_revision[A] = revision[A]; derive() }
    :: atomic { known_revision[B] < revision[B] -> known_revision[B]++; derive() }
    :: atomic { known_revision[B] + 1 < revision[B] -> known_revision[B] = revision[B]; derive() }
    :: atomic { known_opt_in[A] < opt_in[A] -> known_opt_in[A]++; derive() }
    :: atomic { known_opt_in[A] + 1 < opt_in[A] -> known_opt_in[A] = opt_in[A]; derive() }
    :: atomic { known_opt_in[B] < opt_in[B] -> known_opt_in[B]++; derive() }
    :: atomic { known_opt_in[B] + 1 < opt_in[B] -> known_opt_in[B] = opt_in[B]; derive() }
    fi
}

/* An event that lies, or a join that errs: anything may be planned, and asked to stop, at any time. */
inline lie_about(x) {
    if
    :: PLANNABLE(x) -> state[x] = PLANNED; cancel_requested[x] = 0
    :: state[x] == PLANNED || state[x] == HELD -> state[x] = CANCELLED
    :: (state[x] == HOLDING || state[x] == COPYING) && !cancel_requested[x] -> cancel_requested[x] = 1
    :: else
    fi
}

proctype join() {
end_waiting:
    do
#if LIES == 0
    :: take_in()
#else
    :: atomic { lies > 0 && state[0] != LANDED && state[0] != COMPLETED -> lies--; lie_about(0) }
    :: atomic { lies > 0 && state[2] != LANDED && state[2] != COMPLETED -> lies--; lie_about(2) }
#endif
    od
}

/* ==== The schools: imports, opt-ins, and the core application ==== */

inline pupil_changes(school) {
    atomic { changes > 0 && revision[school] < 3 + school ->
        changes--; revision[school]++;
        if
        :: ACTIVE(school) -> records_moved[school] = 0      /* forget_moved_records */
        :: else
        fi
    }
}

inline opt_in_changes(school) {
    atomic { changes > 0 -> changes--; opt_in[school]++ }
}

#ifdef NO_HOLD
#define HELD_HERE(school)  false
#else
#define HELD_HERE(school)  (hold_transfer[school] != 0)
#endif
#ifdef NO_GUARD_ONCE_MOVED
#define MOVED_AWAY(school)  false
#else
#define MOVED_AWAY(school)  (records_moved[school] && !ACTIVE(school))
#endif

/* One statement of the core application, with the guard trigger `refuse_writes_in_transfer`. A refused write was never
 * acknowledged, so there is nothing to note of it. */
inline write(school) {
    atomic { writes > 0 && !HELD_HERE(school) && !MOVED_AWAY(school) ->
        rows[school] = rows[school] | (1 << writes);
        written = written | (1 << writes);
        writes--
    }
}

proctype schools() {
end_waiting:
    do
    :: pupil_changes(A)
    :: pupil_changes(B)
    :: opt_in_changes(A)
    :: opt_in_changes(B)
    :: write(A)
    :: write(B)
#if MEDDLING > 0
    :: atomic { meddling > 0 && rows[A] -> meddling--; rows[A] = rows[A] | PAST_THE_GUARD; written = written | PAST_THE_GUARD }
#endif
    od
}

/* ==== The mover ==== */

/* Any mover may die before any step: SIGKILL, or an error of a server that is away, which ends the same way. */
#define MAY_DIE  if :: faults > 0 -> faults--; goto idle :: true fi

#define AT_WORK(m, t)   (working[m] == (t) + 1 && working_epoch[m] == epoch[t])
/* A retry that can only end as the last one did is a fault too, or runs would never end. */
#define BLOCKED(t)      (!cancel_requested[t] && !incoming[t] && (hold_transfer[DESTINATION(t)] != 0 \
    || (hold_transfer[ORIGIN(t)] != 0 && hold_transfer[ORIGIN(t)] != (t) + 1)))
#define RETRIED_IN_VAIN(t)  (BLOCKED(t) || CHANGED(t))
#define FREELY_DUE(t)   (state[t] == PLANNED || (state[t] == HELD && MAY_DEPART(t) && MAY_ENTER(t)) \
    || (IN_HAND(t) && !AT_WORK(0, t) && !AT_WORK(1, t) && !RETRIED_IN_VAIN(t)))
#define CLAIMABLE(t)    (state[t] == PLANNED || state[t] == HELD || IN_HAND(t))
/* Movers are alike: the second only starts while the first is at work. */
#define DUE(t)          ((ME == 0 || working[0] != 0) && working[ME] == 0 && CLAIMABLE(t) && (FREELY_DUE(t) || faults > 0))

/* Lease what is due, with a higher epoch. A lease may end while its holder is still at work: that costs a fault. */
inline claim() {
    atomic {
        if
        :: DUE(0) -> t = 0
        :: DUE(1) -> t = 1
        :: DUE(2) -> t = 2
        fi;
        if
        :: FREELY_DUE(t)
        :: else -> faults--
        fi;
        epoch[t]++;
        assert(epoch[t] < MOST_EPOCHS);                     /* the same step is tried again for ever */
        e = epoch[t];
        working[ME] = t + 1;
        working_epoch[ME] = e;
        if
        :: state[t] == PLANNED || state[t] == HELD -> state[t] = HOLDING
        :: else
        fi;
        stop = cancel_requested[t]
    }
}

#ifdef NO_LEDGER_EPOCH
#define MINE(t)  CLAIMABLE(t)
#else
#define MINE(t)  (epoch[t] == e)
#endif

/* Destination: raise the fence, look for a receipt, read the pupil's sheet. */
inline prepare() {
    atomic {
        MAY_DIE;
        if
        :: fence[t] > e -> goto idle                        /* superseded */
        :: else -> fence[t] = e
        fi;
#ifndef NO_RECEIPT
        landed = incoming[t];
#endif
        sheet = ACTIVE(DESTINATION(t))
#ifdef NO_LOCKED_OPT_IN_AT_HOLD
        ; opt_in_seen = OPTED_IN(ORIGIN(t))
#endif
    }
}

#ifdef NO_LOCKED_OPT_IN_AT_HOLD
#define OPT_IN_AT_HOLD  opt_in_seen
#else
#define OPT_IN_AT_HOLD  OPTED_IN(ORIGIN(t))
#endif
#ifdef NO_PUPIL_AT_HOLD
#define PUPIL_AT_HOLD  true
#else
#define PUPIL_AT_HOLD  (!ACTIVE(ORIGIN(t)) && sheet)
#endif

/* Origin: from here on nobody else writes these records. */
inline hold() {
    asked_origin = 1;
#ifdef NO_LOCK_BEFORE_OUTGOING_RECEIPT
    atomic { MAY_DIE; finished = outgoing[t] };             /* read before the pupil's row is locked */
#endif
    atomic {
        MAY_DIE;
#ifndef NO_ORIGIN_FENCE
        if
        :: origin_fence[t] > e -> goto idle                 /* superseded */
        :: else -> origin_fence[t] = e
        fi;
#endif
#ifndef NO_LOCK_BEFORE_OUTGOING_RECEIPT
        finished = outgoing[t];
#endif
        if
        :: finished ->
            finished = 0;
            if
            :: landed
            :: else ->                                      /* _report_lost_landings: a sleeper's illusion */
#ifndef LANDINGS_MAY_SEEM_LOST
                assert(epoch[t] != e);                      /* a landing is reported lost that is not */
#endif
                goto landing_lost
            fi
        :: else ->
            if
            :: !landed && !(OPT_IN_AT_HOLD && PUPIL_AT_HOLD) -> goto set_aside
            :: else
            fi;
            if                                              /* _TAKE_HOLDS */
            :: hold_transfer[ORIGIN(t)] == 0 -> hold_transfer[ORIGIN(t)] = t + 1; hold_epoch[ORIGIN(t)] = e
#ifdef NO_EPOCH_AT_TAKE_OVER
            :: hold_transfer[ORIGIN(t)] == t + 1 -> hold_epoch[ORIGIN(t)] = e
#else
            :: hold_transfer[ORIGIN(t)] == t + 1 && hold_epoch[ORIGIN(t)] <= e -> hold_epoch[ORIGIN(t)] = e
#endif
            :: else ->
                if
                :: landed
                :: else -> goto idle                        /* busy */
                fi
            fi;
            assert(landed || MAY_DEPART(t))                 /* held with the opt-in off, or the pupil still there */
        fi
    }
}

/* Transfer database: note how far we are, learn whether we are asked to stop. */
inline advance(to) {
    atomic {
        MAY_DIE;
        stop = 0;
        if
        :: MINE(t) -> state[t] = to; stop = cancel_requested[t]
        :: else
        fi
    }
}

#ifdef NO_EPOCH_IN_KEYS
#define KEY_EPOCH  1
#define MY_COPIES  2
#else
#define KEY_EPOCH  e
#define MY_COPIES  ((1 << (e + 1)) - 1)                     /* this epoch's and earlier ones' */
#endif

/* Object store: copies under a key that holds the epoch; a file that can't be read keeps the records where they are. */
inline copy_files() {
#ifdef FILES
    atomic {
        MAY_DIE;
        if
        :: !(rows[ORIGIN(t)] & 1)
        :: (rows[ORIGIN(t)] & 1) && !HAS_FILE(ORIGIN(t)) -> goto set_aside
        :: (rows[ORIGIN(t)] & 1) && HAS_FILE(ORIGIN(t)) -> copies[t] = copies[t] | (1 << KEY_EPOCH)
        fi
    }
#else
    skip
#endif
}
#define HOLD_IS_MINE  (hold_transfer[ORIGIN(t)] == t + 1 && hold_epoch[ORIGIN(t)] == e)

/* Origin, in a snapshot: our hold, then the rows as they are. */
inline copy_out() {
    atomic {
        MAY_DIE;
        if
        :: HOLD_IS_MINE -> copied = rows[ORIGIN(t)]
        :: else -> goto idle                                /* superseded */
        fi
#ifdef NO_LOCKED_OPT_IN_AT_LANDING
        ; opt_in_seen = OPTED_IN(DESTINATION(t))
#endif
    }
}

#ifdef NO_LOCKED_OPT_IN_AT_LANDING
#define OPT_IN_AT_LANDING  opt_in_seen
#else
#define OPT_IN_AT_LANDING  OPTED_IN(DESTINATION(t))
#endif
#ifdef NO_PUPIL_AT_LANDING
#define PUPIL_AT_LANDING  true
#else
#define PUPIL_AT_LANDING  ACTIVE(DESTINATION(t))
#endif
#ifdef NO_CHECK_NOT_LEAVING
#define LEAVING_THERE  false
#else
#define LEAVING_THERE  (hold_transfer[DESTINATION(t)] != 0)
#endif
#ifdef NO_FENCE
#define FENCE_IS_MINE  true
#else
#define FENCE_IS_MINE  (fence[t] == e)
#endif

/* Destination, one transaction: its opt-in, its pupil, its fence; the rows, verified, with their receipt. */
inline land() {
    atomic {
        MAY_DIE;
        if
        :: LEAVING_THERE -> goto idle                       /* busy: _check_not_leaving, and the guard under the COPY */
        :: else
        fi;
        if
        :: !OPT_IN_AT_LANDING || !PUPIL_AT_LANDING -> goto set_aside
        :: else
        fi;
        if
        :: !FENCE_IS_MINE -> goto idle                      /* superseded */
        :: else
        fi;
        if
        :: (rows[DESTINATION(t)] & copied) != 0 || incoming[t] -> goto set_aside        /* the primary keys */
        :: else
        fi;
        assert(MAY_ENTER(t));                               /* landed with the opt-in off, or the pupil not there */
#if MEDDLING > 0
        if
        :: meddling > 0 && copied -> meddling--;            /* values that arrive otherwise than they left */
#ifndef NO_DIGEST_AT_LANDING
            goto set_aside
#else
            incoming_tables[t] = 64
#endif
        :: true -> incoming_tables[t] = copied
        fi;
#else
        incoming_tables[t] = copied;
#endif
        rows[DESTINATION(t)] = rows[DESTINATION(t)] | copied;
        incoming[t] = 1;
#ifdef FILES
        if
        :: copied & 1 -> object_key[DESTINATION(t)] = t * 16 + KEY_EPOCH; incoming_epoch[t] = KEY_EPOCH
        :: else
        fi;
#endif
        assert(ALL_IS_WELL);                                /* a record, or its file, is gone */
        if
        :: landed = 1
        :: faults > 0 -> faults--; goto set_aside           /* committed, but the answer is an error nobody foresaw */
        fi
    }
}

/* Origin, one transaction: our hold, the same rows as landed; then they go, with a receipt, and the hold with them. */
inline finish() {
    atomic {
        MAY_DIE;
        if
#ifndef NO_OUTGOING_RECEIPT
        :: outgoing[t]
#endif
        :: else ->
#ifndef NO_HOLD_AT_FINISH
            if
            :: !HOLD_IS_MINE -> goto idle                   /* superseded */
            :: else
            fi;
#endif
#ifndef NO_DIGEST_AT_FINISH
            if
            :: rows[ORIGIN(t)] != incoming_tables[t] -> goto idle                       /* records_changed: postponed */
            :: else
            fi;
#endif
#ifdef FILES
            if
            :: rows[ORIGIN(t)] & 1 -> removal[t] = 1; removal_key[t] = object_key[ORIGIN(t)]; object_key[ORIGIN(t)] = 0
            :: else
            fi;
#endif
            rows[ORIGIN(t)] = 0;
            outgoing[t] = 1;
            records_moved[ORIGIN(t)] = !ACTIVE(ORIGIN(t));                               /* _NOTE_MOVED */
            hold_transfer[ORIGIN(t)] = 0; hold_epoch[ORIGIN(t)] = 0;
            assert(ALL_IS_WELL)                             /* a record, or its file, is gone */
        fi
    }
}

/* Objects whose rows have left, from the list that the finish wrote; then copies of attempts that died. */
inline tidy() {
#ifdef FILES
    atomic {
        MAY_DIE;
        if
        :: removal[t] -> keep = removal_key[t];                                         /* remove */
            if
            :: keep == 0 -> original = 0
            :: else -> copies[keep / 16] = copies[keep / 16] & ~(1 << (keep % 16))
            fi;
            keep = 0;
            assert(ALL_IS_WELL)                             /* a record, or its file, is gone */
        :: else
        fi
    };
    atomic { MAY_DIE; removal[t] = 0 };                                                 /* forget_objects */
    if
    :: e > 1 -> discard_copies(incoming_epoch[t])
    :: else
    fi
#else
    skip
#endif
}

/* List, then remove: much may happen between the two. */
inline discard_copies(but_of_epoch) {
#ifdef FILES
    atomic { MAY_DIE; doomed = copies[t] & MY_COPIES & ~(but_of_epoch == 0 -> 0 : (1 << but_of_epoch)) };
    atomic { MAY_DIE; copies[t] = copies[t] & ~doomed; doomed = 0; assert(ALL_IS_WELL) } /* a record, or its file, is gone */
#else
    skip
#endif
}

#ifdef NO_DERIVING_AT_THE_END
#define DERIVE_AGAIN  skip
#else
#define DERIVE_AGAIN  derive()
#endif

/* Transfer database: both receipts are there; plan what may follow. */
inline complete() {
    atomic {
        MAY_DIE;
        if
        :: MINE(t) ->
            state[t] = COMPLETED; cancel_requested[t] = 0;
            if
            :: moved_at_revision[ORIGIN(t)] < ORIGIN_REVISION(t) -> moved_at_revision[ORIGIN(t)] = ORIGIN_REVISION(t)
            :: else
            fi;
            DERIVE_AGAIN
        :: else
        fi
    }
}

/* Origin: nothing has moved; the hold goes, if it is not a later epoch's. */
inline release() {
    atomic {
        MAY_DIE;
#ifndef NO_ORIGIN_FENCE
        if
        :: origin_fence[t] < e -> origin_fence[t] = e
        :: else
        fi;
#endif
        if
#ifdef NO_EPOCH_AT_RELEASE
        :: hold_transfer[ORIGIN(t)] == t + 1 ->
#else
        :: hold_transfer[ORIGIN(t)] == t + 1 && hold_epoch[ORIGIN(t)] <= e ->
#endif
            hold_transfer[ORIGIN(t)] = 0; hold_epoch[ORIGIN(t)] = 0
        :: else
        fi
    }
}

/* Transfer database: set aside until a fact changes or it is tried again, or ended because it was asked to stop. */
inline end(outcome) {
    atomic {
        MAY_DIE;
        if
        :: MINE(t) -> state[t] = outcome; cancel_requested[t] = 0; DERIVE_AGAIN
        :: else
        fi
    }
}

proctype mover() {
    byte t, e, copied;
    bit sheet, asked_origin, finished, landed, stop;
#if defined(NO_LOCKED_OPT_IN_AT_HOLD) || defined(NO_LOCKED_OPT_IN_AT_LANDING)
    bit opt_in_seen;
#endif
#ifdef FILES
    byte keep;
    int doomed;
#endif

idle:                                                       /* finished, superseded, busy, postponed or dead */
    atomic {
        working[ME] = 0; working_epoch[ME] = 0;
        t = 0; e = 0; copied = 0; sheet = 0; asked_origin = 0; finished = 0; landed = 0; stop = 0
    }
end_move_next:
    claim();

bring_over:
    prepare();
    if
    :: !landed && stop -> goto cancel_it
    :: else
    fi;
hold_it:
    hold();
    if
    :: landed -> goto bring_home
    :: else
    fi;
    advance(COPYING);
    if
    :: stop -> goto cancel_it
    :: else
    fi;
    copy_files();
    copy_out();
    land();

bring_home:
    advance(LANDED);
    finish();
    tidy();
    complete();
    goto idle;

landing_lost:
    end(HELD);
    goto idle;

set_aside:
    stop = 0;
cancel_it:
let_go:                                                     /* ask the destination once more that nothing has landed */
#ifndef NO_ASKING_AGAIN
    prepare();
    if
    :: landed && !asked_origin -> goto hold_it
    :: landed && asked_origin -> goto bring_home
    :: else
    fi;
#endif
    discard_copies(0);
    release();
    if
    :: stop -> end(CANCELLED)
    :: else -> end(HELD)
    fi;
    goto idle
}

/* When nothing can move any more. */
proctype rest() {
    atomic {
        timeout ->
        assert(ALL_IS_WELL);                                /* a record, or its file, is gone */
        assert(A_PERSON_MUST_LOOK || IN_ONE_PLACE);         /* a record is in two places at rest */
        assert(A_PERSON_MUST_LOOK || ALL_ENDED);            /* a transfer is under way for ever */
        assert(A_PERSON_MUST_LOOK || (FREE_AT_REST(A) && FREE_AT_REST(B)));  /* a hold outlives its transfer */
#ifdef STRAY_COPIES_COUNT
        assert(copies[0] == 0 || ((rows[B] & 1) && copies[0] == (1 << (object_key[B] % 16))));  /* a copy that no row names */
#endif
        assert(A_PERSON_MUST_LOOK || FOLLOWED)              /* records have not followed the pupil */
    }
}

init {
    atomic {
        revision[A] = 1; revision[B] = 1; opt_in[A] = 1; opt_in[B] = 1; rows[A] = 1;
        run mover(); run mover(); run join(); run schools(); run rest()
    }
}
