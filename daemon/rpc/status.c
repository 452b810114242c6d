/* Packing of a failed Response. */
#include "rpc/status.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "spawnd/v1/common.pb-c.h"
#include "ttrpc.pb-c.h"

#define SPAWNARGS_MAX 1024
#define SPAWNARGS_BYTES_MAX (256u << 10)

/* Borrows the words after argv[0], as many as a status should carry. */
static size_t borrow_args(char *const *argv, ProtobufCBinaryData *args)
{
	size_t count = 0, bytes = 0;

	if (!argv || !argv[0])
		return 0;
	for (char *const *word = argv + 1; *word && count < SPAWNARGS_MAX; word++) {
		size_t length = strlen(*word);

		bytes += length;
		if (bytes > SPAWNARGS_BYTES_MAX)
			break;
		args[count++] = (ProtobufCBinaryData){.len = length, .data = (uint8_t *)*word};
	}
	return count;
}

void status_pack(struct err *err, char *const *argv, struct buf *out)
{
	static ProtobufCBinaryData args[SPAWNARGS_MAX];
	Spawnd__V1__ErrorDetail detail = SPAWND__V1__ERROR_DETAIL__INIT;
	Ttrpc__Any any = TTRPC__ANY__INIT, *details[] = {&any};
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	size_t size;

	utf8_clean(err->message);
	utf8_clean(err->syscall);
	detail.errnum = err->errnum;
	detail.code = err->code;
	detail.syscall = err->syscall;
	detail.path = (ProtobufCBinaryData){.len = strlen(err->path), .data = (uint8_t *)err->path};
	detail.field = err->field;
	detail.n_spawnargs = borrow_args(argv, args);
	detail.spawnargs = args;
	any.type_url = (char *)"type.googleapis.com/spawnd.v1.ErrorDetail";
	any.value.len = spawnd__v1__error_detail__get_packed_size(&detail);
	any.value.data = mem_alloc(any.value.len);
	spawnd__v1__error_detail__pack(&detail, any.value.data);
	status.code = (int32_t)err->status;
	status.message = err->message;
	if (any.value.len) {
		status.details = details;
		status.n_details = 1;
	}
	response.status = &status;
	size = ttrpc__response__get_packed_size(&response);
	ttrpc__response__pack(&response, buf_reserve(out, size));
	buf_commit(out, size);
	free(any.value.data);
}
