# Code from proto/: protobuf-c for engine and C client, nanopb where code must not allocate. Generated files are never committed.
set(PROTO_DIR ${CMAKE_SOURCE_DIR}/proto)
set(PROTO_OUT ${CMAKE_BINARY_DIR}/proto)
file(MAKE_DIRECTORY ${PROTO_OUT})

# spawnd_proto_c(TARGET FILE...): a static library of protobuf-c code
function(spawnd_proto_c target)
	set(sources)
	foreach(file IN LISTS ARGN)
		string(REGEX REPLACE "\\.proto$" "" stem ${file})
		add_custom_command(
			OUTPUT ${PROTO_OUT}/${stem}.pb-c.c ${PROTO_OUT}/${stem}.pb-c.h
			COMMAND ${PROTOC} --plugin=protoc-gen-c=${CMAKE_SOURCE_DIR}/cmake/protoc-gen-c3 --c_out=${PROTO_OUT} -I ${PROTO_DIR} ${file}
			DEPENDS ${PROTO_DIR}/${file} ${CMAKE_SOURCE_DIR}/cmake/protoc-gen-c3
			VERBATIM)
		list(APPEND sources ${PROTO_OUT}/${stem}.pb-c.c)
	endforeach()
	add_library(${target} STATIC ${sources})
	target_include_directories(${target} SYSTEM PUBLIC ${PROTO_OUT})
	target_link_libraries(${target} PUBLIC PkgConfig::PROTOBUF_C PRIVATE spawnd_instrument)
endfunction()

# spawnd_proto_nanopb(TARGET FILE...): a static library of nanopb code
function(spawnd_proto_nanopb target)
	set(sources)
	foreach(file IN LISTS ARGN)
		string(REGEX REPLACE "\\.proto$" "" stem ${file})
		add_custom_command(
			OUTPUT ${PROTO_OUT}/${stem}.pb.c ${PROTO_OUT}/${stem}.pb.h
			COMMAND ${PROTOC} --plugin=protoc-gen-nanopb=${PROTOC_GEN_NANOPB} --nanopb_out=${PROTO_OUT} --nanopb_opt=-I${PROTO_DIR} -I ${PROTO_DIR} ${file}
			DEPENDS ${PROTO_DIR}/${file} ${PROTO_DIR}/${stem}.options
			VERBATIM)
		list(APPEND sources ${PROTO_OUT}/${stem}.pb.c)
	endforeach()
	add_library(${target} STATIC ${sources})
	target_include_directories(${target} SYSTEM PUBLIC ${PROTO_OUT} ${NANOPB_INCLUDE})
	target_link_libraries(${target} PUBLIC ${NANOPB_LIBRARY})
endfunction()
