/*
 * What is remembered of a process beyond this engine: one record in the ledger from before the clone until the object is
 * removed. The rest is elsewhere: descriptors in the keeper's store, pid, exit and deadline in the journal, output in rings.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/ledger.h"
#include "process/spec.h"

/* Kinds of records; the owner of each is the id of its process, of a spec its number, of an act nothing. */
enum record_kind {
	RECORD_SPEC = 1,
	RECORD_PROCESS = 2,
	RECORD_OUTPUT = 3, /* what is kept of a slot that has ended */
	RECORD_ACT = 4,    /* what an idempotency key named; service/idempotency.c */
	RECORD_POOL = 5,   /* pool/pool_record.h */
};

#define RECORD_KEY_MAX 128u
#define RECORD_METHOD_MAX 48u
#define RECORD_SESSION_MAX 64u
#define RECORD_WHY_MAX 16u
#define RECORD_NOT_SENT UINT64_MAX
#define RECORD_TREE_EMPTY UINT32_MAX

enum record_flags {
	RECORD_STOPPING = 1,  /* stop_* are valid */
	RECORD_EXIT_TOLD = 2, /* observers know that it has exited */
	RECORD_CLOSED = 4,    /* and that it is closed */
	RECORD_DRAIN_TIMED_OUT = 8,
	RECORD_HELD = 16,   /* a stream is the process: on_disconnect is due without it */
	RECORD_KILLED = 32, /* SIGKILL was sent by us */
};

enum record_slot_flags {
	RECORD_SLOT_ENDED = 1,
	RECORD_SLOT_COMPLETE = 2,
	RECORD_SLOT_EOF = 4, /* input: nothing more is to be written */
};

struct record_slot {
	uint32_t slot;
	_Atomic uint32_t flags;
	_Atomic uint64_t passed; /* output: offset behind what never was, or is no more, in a ring; input without a spool: bytes taken */
	_Atomic uint64_t cut;    /* output: thrown away by capture */
	_Atomic uint64_t filed;  /* output: offset behind what the log file has, or will never have */
};

/* A piece on its way into the log file: whether it got there its bytes tell, where the file stood. And what became of others. */
struct record_filing {
	_Atomic uint64_t lost;   /* bytes that could not be written */
	_Atomic uint64_t length; /* 0: none is on its way */
	uint64_t offset;         /* in the slot */
	uint64_t position;       /* in the file, unless others append to it */
	uint64_t device, inode;
	uint32_t slot;
	_Atomic uint32_t error; /* positive errno of the last try to write; 0: it went well */
};

/* Who asked for it, by which act. */
struct record_origin {
	uint32_t uid;
	uint32_t session_size;
	uint64_t digest;
	int64_t made_ns;              /* CLOCK_BOOTTIME */
	bool held;                    /* a stream is the process, from its birth on; read back as RECORD_HELD */
	char key[RECORD_KEY_MAX + 1]; /* "": none */
	char method[RECORD_METHOD_MAX];
	uint8_t session[RECORD_SESSION_MAX];
};

struct record {
	uint64_t spec; /* owner of its RECORD_SPEC */
	uint32_t journal_slot;
	uint32_t owner; /* uid */
	_Atomic uint32_t flags;
	_Atomic uint32_t on_disconnect;
	_Atomic int32_t stop_signal, stop_scope, stop_reason;
	uint32_t tree;                    /* number of its directory; 0: none; RECORD_TREE_EMPTY: it is another's now */
	_Atomic int64_t stop_deadline_ns; /* CLOCK_BOOTTIME */
	_Atomic int64_t ended_boot_ns;
	_Atomic uint64_t stop_signals; /* host.signals before its present step was sent; RECORD_NOT_SENT */
	char why[RECORD_WHY_MAX];
	struct record_filing filing;
	uint64_t digest; /* from here on its origin, see record_origin_of */
	int64_t made_ns;
	uint32_t uid;
	uint8_t key_size, method_size, session_size;
	uint32_t slot_count;
	struct record_slot slots[]; /* then key, method, session */
};

/* Writes the record of a process, not found by others before record_commit. NULL with *err. */
struct record *record_write(struct ledger *ledger, uint64_t id, struct spec *spec, const struct record_origin *origin, struct err *err);
void record_origin_of(const struct record *record, struct record_origin *origin_out);
/* NULL when the record does not name this slot, or is NULL. */
struct record_slot *record_slot(struct record *record, uint32_t slot);

/* Of a record that is gone (NULL) nothing is remembered. */
static inline void record_flag(struct record *record, enum record_flags flag)
{
	if (record)
		atomic_fetch_or(&record->flags, (uint32_t)flag);
}

static inline bool record_has(const struct record *record, enum record_flags flag)
{
	return record && atomic_load(&record->flags) & (uint32_t)flag;
}

/* What a spec is remembered by, the session's part in it; appended. */
void record_pack_spec(struct buf *buf, const struct spec *spec);
/* That, compiled again. 0, or negative with *err. */
int record_unpack_spec(const void *bytes, size_t size, struct spec **spec_out, struct err *err);
/* Remembers a spec as long as it is referred to; its number, or 0 with *err. */
uint64_t record_write_spec(struct ledger *ledger, struct spec *spec, struct err *err);
/* The spec of a RECORD_SPEC, compiled again. 0, or negative with *err. */
int record_read_spec(struct ledger *ledger, void *bytes, struct spec **spec_out, struct err *err);
