/* libdcf: messages of any size over UDP, acknowledged, paced and, with a key, sealed.
 *
 * docs/transport.md specifies what goes over the network, README.md shows a program.
 *
 * The loop of a program with a socket:
 *
 *     dcf_socket_receive    until it returns 0: datagrams go to the endpoint
 *     dcf_endpoint_next_event   until it returns 0; act on each
 *     dcf_endpoint_flush, dcf_socket_send
 *     dcf_socket_wait       until dcf_endpoint_next_timeout, or until the socket can be written to
 *                           if dcf_socket_send returned 0
 *
 * Without a dcf_socket, dcf_endpoint_received and dcf_endpoint_next_datagram take its place: an
 * endpoint opens no socket, reads no clock and starts no thread.
 *
 * Results. Every function that returns int32_t returns 0 or more if it did what was asked, and one
 * of the DCF_... below 0 if not; then it changed nothing, and wrote nothing through its pointers,
 * unless that is DCF_FAULT. What a peer sends makes no call fail: it is counted.
 *
 * Pointers. A null where something has to be is DCF_INVALID. Bytes that are passed in are copied,
 * and stay the caller's. Bytes that an endpoint hands out stay its own: the description of the
 * function says how long they are valid.
 *
 * Memory. An endpoint keeps to its dcf_limits. When the system has no memory, the process ends.
 *
 * Threads. No two calls may use the same object at a time. Different objects are independent, and an
 * object may be used by one thread after another. Nothing here blocks but dcf_socket_wait.
 */
#ifndef DCF_H
#define DCF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Goes up when a program built for an earlier one would not work any more. */
#define DCF_ABI_VERSION 1

/* The DCF_ABI_VERSION of the library that is loaded. */
uint32_t dcf_abi_version(void);

/* A null, an address of neither family, a type that does not go in messages, limits that make no
 * sense. */
#define DCF_INVALID (-1)
/* The message exceeds max_message, or 64 KiB if it is a HEARTBEAT, CANCEL or ERROR, or a datagram if
 * it is a MESH or SYNC. */
#define DCF_TOO_LARGE (-2)
/* Messages that are not yet acknowledged take up peer_memory or memory: try again later. */
#define DCF_NO_ROOM (-3)
/* A system call failed; errno says why. */
#define DCF_SYSTEM (-4)
/* A fault in this library, which has written what it was to stderr. The object can only be freed. */
#define DCF_FAULT (-5)

/* What a result says, in English. Valid for ever. */
const char *dcf_describe(int32_t result);

/* ------------------------------------------------------------------------------------ addresses */

#define DCF_IPV4 4
#define DCF_IPV6 6

typedef struct dcf_address {
    uint8_t ip[16];    /* as in a packet; of IPv4 the first four */
    uint16_t family;   /* DCF_IPV4 or DCF_IPV6 */
    uint16_t port;     /* as a number of this machine, not swapped */
    uint32_t scope_id; /* the interface of a link-local IPv6 address, else 0 */
} dcf_address;

/* ---------------------------------------------------------------------------------------- limits */

/* Sizes in bytes. max_message <= peer_memory <= memory, and max_message fits 32 bits. */
typedef struct dcf_limits {
    uint64_t max_message; /* the largest message, either way */
    uint64_t memory;      /* messages being reassembled or not yet acknowledged, of all peers */
    uint64_t peer_memory; /* the same for one peer, each way */
    uint64_t max_peers;   /* addresses known at a time */
    double datagram_rate; /* datagrams a second from one peer; 0 for any number */
    /* How many times the bytes that came from an address may go to it before it has shown that it
     * receives; 0 to trust every address, and leave out the next two. */
    uint64_t amplification;
    uint64_t unproven_peer_memory; /* large messages that one such address may have begun */
    uint64_t unproven_memory;      /* memory in use above which such addresses may begin none */
} dcf_limits;

/* Writes the specification's limits, and amplification 0. */
int32_t dcf_limits_default(dcf_limits *limits);

/* ------------------------------------------------------------------------------------- endpoints */

typedef struct dcf_endpoint dcf_endpoint;

/* The message types that a program sends and receives. */
#define DCF_HEARTBEAT 0x01
#define DCF_TASK 0x02
#define DCF_RESULT 0x03
#define DCF_CANCEL 0x22
#define DCF_ERROR 0x23
/* These go once, in one datagram, without acknowledgement: they may be lost or come twice. They reach
 * a program that has asked for them. */
#define DCF_MESH 0x0b
#define DCF_SYNC 0x26

/* The types of an endpoint that dcf_endpoint_new_domain made, by DCF's registry. The first four go
 * once, in one datagram, and reach every program; a RELIABLE goes like a DCF_TASK. */
#define DCF_POSITION 0x01
#define DCF_AUDIO 0x02
#define DCF_GAME_EVENT 0x03
#define DCF_STATE_SYNC 0x04
#define DCF_RELIABLE 0x05

/* A new endpoint, or NULL if the limits make no sense. `key` is 32 bytes, or NULL to seal nothing.
 * Two endpoints may have the same key. */
dcf_endpoint *dcf_endpoint_new(const dcf_limits *limits, const uint8_t *key);

/* The same for games, audio and sensors: it knows the types from DCF_POSITION to DCF_RELIABLE, and none
 * of a cluster's. Those share numbers, so never let one port have both; what is sealed for one is
 * forged to the other. */
dcf_endpoint *dcf_endpoint_new_domain(const dcf_limits *limits, const uint8_t *key);

/* Frees it, and all that it has handed out. NULL is left alone. */
void dcf_endpoint_free(dcf_endpoint *endpoint);

int32_t dcf_endpoint_set_limits(dcf_endpoint *endpoint, const dcf_limits *limits);

/* Has messages of a type, DCF_MESH or DCF_SYNC, reported from now on. Others drop them, and count them
 * as of an unknown type. */
int32_t dcf_endpoint_subscribe(dcf_endpoint *endpoint, uint8_t message_type);

/* `now` is everywhere microseconds of a monotonic clock, and `wall` of the Epoch (1970 UTC). A `now`
 * before that of an earlier call counts as that one. */

/* Processes one datagram. Returns 1 if it was whole, sealed with the key if there is one, and in
 * time; 0 if it was dropped, which is counted. */
int32_t dcf_endpoint_received(dcf_endpoint *endpoint, const uint8_t *datagram, size_t size,
                              const dcf_address *from, uint64_t now, uint64_t wall);

/* A whole message arrived, once unless it is a HEARTBEAT or of a type that goes once: message_type, sequence,
 * timestamp, payload. */
#define DCF_EVENT_MESSAGE 1
/* A message began that is too large: message_type, sequence; payload has its first piece. */
#define DCF_EVENT_TOO_LARGE 2
/* The peer has acknowledged all of the message that dcf_endpoint_send gave that sequence, once for
 * each message. rtt is that of its last piece, or DCF_UNKNOWN if that was sent more than once. */
#define DCF_EVENT_DELIVERED 3
/* The peer answered a PING: rtt. */
#define DCF_EVENT_PONG 4
/* The peer acknowledged nothing for 8 s. The messages in sequences may or may not have arrived, and
 * are not sent again. If not proven, the peer may be one of those that never acknowledge. */
#define DCF_EVENT_UNREACHABLE 5
/* The peer was idle for 120 s, had to make room for another, or was forgotten by the program. */
#define DCF_EVENT_FORGOTTEN 6

#define DCF_UNKNOWN UINT64_MAX

/* What an event does not have is 0 or null. */
typedef struct dcf_event {
    dcf_address peer;
    uint8_t event;        /* one of DCF_EVENT_... */
    uint8_t message_type;
    uint8_t proven;       /* 1 or 0 */
    uint8_t reserved;
    uint32_t sequence;
    uint64_t timestamp;   /* the sender's clock, in microseconds since the Epoch */
    uint64_t rtt;         /* microseconds */
    const uint8_t *payload;
    size_t payload_size;
    const uint32_t *sequences;
    size_t sequence_count;
} dcf_event;

/* Returns 1 and writes the next event, or 0 if there is none. What the event points at is valid
 * until the next call of this function with this endpoint. */
int32_t dcf_endpoint_next_event(dcf_endpoint *endpoint, dcf_event *event);

/* Queues a message and writes its sequence, if `sequence` is not NULL. It is repeated until it is
 * acknowledged; then the outcome is an event. A HEARTBEAT that fits a datagram, and the types of which
 * that is said above, go once. */
int32_t dcf_endpoint_send(dcf_endpoint *endpoint, const dcf_address *to, uint8_t message_type,
                          const uint8_t *payload, size_t size, uint64_t now, uint32_t *sequence);

/* Sends a PING. */
int32_t dcf_endpoint_ping(dcf_endpoint *endpoint, const dcf_address *to, uint64_t now);

/* Spares an address from `amplification`, for good: one that the program's own settings name. */
int32_t dcf_endpoint_trust(dcf_endpoint *endpoint, const dcf_address *peer);

/* Keeps a peer that is quiet because it waits for this program, until as many calls of release. */
int32_t dcf_endpoint_hold(dcf_endpoint *endpoint, const dcf_address *peer, uint64_t now);
int32_t dcf_endpoint_release(dcf_endpoint *endpoint, const dcf_address *peer);

/* Drops all that is known of a peer, and what was to be sent to it. */
int32_t dcf_endpoint_forget(dcf_endpoint *endpoint, const dcf_address *peer);

/* Makes the datagrams that are to be sent now, if those of the last time have all gone. Call it
 * after all of the above, and no later than dcf_endpoint_next_timeout. */
int32_t dcf_endpoint_flush(dcf_endpoint *endpoint, uint64_t now, uint64_t wall);

/* Returns 1 and a datagram to send, or 0 if there is none left. The bytes are valid until the next
 * dcf_endpoint_flush or dcf_socket_send with this endpoint. */
int32_t dcf_endpoint_next_datagram(dcf_endpoint *endpoint, const uint8_t **datagram, size_t *size,
                                   dcf_address *to);

/* Writes the `now` at which dcf_endpoint_flush has to be called. */
int32_t dcf_endpoint_next_timeout(dcf_endpoint *endpoint, uint64_t *at);

/* Returns 1 if every message has been acknowledged or given up, else 0. */
int32_t dcf_endpoint_idle(dcf_endpoint *endpoint);

/* Writes the bytes of messages that are being reassembled or not yet acknowledged. */
int32_t dcf_endpoint_memory(dcf_endpoint *endpoint, uint64_t *bytes);

/* Returns 1 and writes name, meaning and value of the counter with that index, from 0 on; 0 if there
 * is none with that index. The texts are valid for ever. Each of the three may be NULL. */
int32_t dcf_endpoint_counter(dcf_endpoint *endpoint, size_t index, const char **name,
                             const char **help, uint64_t *value);

/* --------------------------------------------------------------------------------------- sockets */

typedef struct dcf_socket dcf_socket;

/* Opens a UDP socket at an address; port 0 is any that is free. It moves up to 64 datagrams with a
 * system call, and the kernel joins and cuts runs of equal ones. Never blocks. */
int32_t dcf_socket_bind(const dcf_address *address, dcf_socket **socket);

/* Closes it. NULL is left alone. */
void dcf_socket_free(dcf_socket *socket);

/* Writes where it is bound. */
int32_t dcf_socket_address(dcf_socket *socket, dcf_address *address);

/* The file descriptor, for a poll of the program's own. It stays the socket's. */
int32_t dcf_socket_fd(dcf_socket *socket);

/* Passes a batch of datagrams to the endpoint. Returns 1 if there may be more, else 0. */
int32_t dcf_socket_receive(dcf_socket *socket, dcf_endpoint *endpoint, uint64_t now, uint64_t wall);

/* Sends what dcf_endpoint_flush made. Returns 1 if all has gone; 0 if the socket takes no more just
 * now: then wait until it can be written to, not for the timeout, and call this again. */
int32_t dcf_socket_send(dcf_socket *socket, dcf_endpoint *endpoint);

/* Waits until the socket can be read from, or also written to if `writable` is not 0. Returns 1 if
 * so, and 0 after `timeout` microseconds or at a signal. */
int32_t dcf_socket_wait(dcf_socket *socket, int32_t writable, uint64_t timeout);

/* ----------------------------------------------------------------------------------------- links */

/* Cables to other machines, such as Thunderbolt: network devices beside the ordinary network. Over
 * them processes find those of their peers that are at the other end, and send to them there while
 * that works; to an endpoint a peer keeps its ordinary address. docs/transport.md, Paths over a link. */
typedef struct dcf_links dcf_links;

/* New links: the devices whose names begin with `prefix`, such as "thunderbolt", now or later. `key` is
 * the 32 bytes that the endpoint has too, or NULL. */
int32_t dcf_links_new(const char *prefix, const uint8_t *key, dcf_links **links);

/* Frees them. NULL is left alone. */
void dcf_links_free(dcf_links *links);

/* A file descriptor that can be read from when a link has something for dcf_links_receive or
 * dcf_links_step, or room for dcf_links_send. It stays theirs. */
int32_t dcf_links_fd(dcf_links *links);

/* Writes the `now` at which dcf_links_receive, or dcf_links_step, has to be called. */
int32_t dcf_links_next_timeout(dcf_links *links, uint64_t *at);

/* Looks for devices, finds peers, probes paths, and passes what came over links to the endpoint. */
int32_t dcf_links_receive(dcf_links *links, dcf_endpoint *endpoint, uint64_t now, uint64_t wall);

/* Sends those of the datagrams that dcf_endpoint_flush made that go over links. The others are left
 * for dcf_socket_send: call this before it. */
int32_t dcf_links_send(dcf_links *links, dcf_endpoint *endpoint, uint64_t now);

/* Closes all links; the endpoint reaches every peer over the ordinary network again. */
int32_t dcf_links_close(dcf_links *links, dcf_endpoint *endpoint, uint64_t now);

/* What has become of the path to a peer. */
typedef struct dcf_path_change {
    dcf_address peer;      /* its ordinary address */
    dcf_address neighbour; /* its address on the link */
    uint64_t size;         /* the largest datagram that goes over the link; 0 if none do any more */
} dcf_path_change;

/* Returns 1 and writes what has changed next, or 0 if nothing has. Of those that nobody asks for the
 * latest 256 are kept. */
int32_t dcf_links_next_change(dcf_links *links, dcf_path_change *change);

/* A device in use. */
typedef struct dcf_link {
    char name[16];
    dcf_address address; /* this process's there */
    uint64_t largest;    /* the largest datagram that it takes */
} dcf_link;

/* Returns 1 and writes the link with that index, from 0 on; 0 if there is none. */
int32_t dcf_links_link(dcf_links *links, size_t index, dcf_link *link);

/* A process at the other end of a link. */
typedef struct dcf_neighbour {
    dcf_address address; /* on the link */
    dcf_address peer;    /* its ordinary address; family 0 if it is none of this process's peers */
    uint64_t rtt;        /* the latest round trip in microseconds, or DCF_UNKNOWN */
    uint64_t size;       /* the largest datagram that has been there and back */
    uint64_t largest;    /* the largest that both ends take */
    uint64_t echoed;     /* bytes of probes that it has answered */
    uint32_t under_way;  /* probes that it has not answered */
    uint32_t up;         /* 1 if datagrams to the peer go there, else 0 */
} dcf_neighbour;

/* Returns 1 and writes the neighbour with that index, from 0 on; 0 if there is none. */
int32_t dcf_links_neighbour(dcf_links *links, size_t index, dcf_neighbour *neighbour);

/* Sends the neighbour with that index a probe of `size` bytes, or as near to it as it can be, beside
 * those that are due. Returns 1, or 0 if there is none. */
int32_t dcf_links_measure(dcf_links *links, size_t index, size_t size, uint64_t now, uint64_t wall);

/* As dcf_endpoint_counter. */
int32_t dcf_links_counter(dcf_links *links, size_t index, const char **name, const char **help,
                          uint64_t *value);

/* For programs with an endpoint of their own making. These take the place of dcf_links_receive: */
int32_t dcf_links_step(dcf_links *links, uint64_t now, uint64_t wall);
/* Returns 1 and a peer's datagram with the ordinary address that it counts as from, or 0. The bytes are
 * valid until the next call with these links. */
int32_t dcf_links_next_datagram(dcf_links *links, const uint8_t **datagram, size_t *size,
                                dcf_address *from);
/* Processes the payload of a message of type 0x27 that came over the ordinary network. */
int32_t dcf_links_challenged(dcf_links *links, const uint8_t *payload, size_t size,
                             const dcf_address *from, uint64_t now, uint64_t wall);
/* Returns 1 and the payload of such a message that is to be sent there, or 0. Valid as above. */
int32_t dcf_links_next_challenge(dcf_links *links, const uint8_t **payload, size_t *size,
                                 dcf_address *to);
/* And these that of dcf_links_send: returns 1 if the datagram goes over a link, with dcf_links_flush;
 * 0 if it is to be sent over the ordinary network. */
int32_t dcf_links_put(dcf_links *links, const dcf_address *to, const uint8_t *datagram, size_t size,
                      uint64_t now);
int32_t dcf_links_flush(dcf_links *links);

/* ---------------------------------------------------------------------------------------- clocks */

typedef struct dcf_clock dcf_clock;

/* A clock for `now` that leaves out the pauses of this process, as when the machine was suspended:
 * what peers sent meanwhile still waits in the socket, so their silence means nothing. Read it
 * several times a second. */
dcf_clock *dcf_clock_new(void);
void dcf_clock_free(dcf_clock *clock);

/* The `now`; 0 for NULL. */
uint64_t dcf_clock_now(dcf_clock *clock);

/* The microseconds that `now` has left out so far; 0 for NULL. */
uint64_t dcf_clock_paused(dcf_clock *clock);

/* The `wall`. */
uint64_t dcf_clock_wall(void);

#ifdef __cplusplus
}
#endif

#endif
