/* The other ends of the benchmark of heads, on libdcf so that they are not what limits it:
 *
 *   head_load echo                        sends every datagram back; no head, but the bare round trip
 *   head_load worker HEAD BEAT ANSWER     a worker that answers every task at once
 *   head_load crowd HEAD BEAT COUNT       that many workers that send heartbeats and get no tasks
 *   head_load client TO TASK RATE SECONDS WINDOW
 *       Sends tasks, and prints what came of them. With a RATE, one each 1/RATE seconds, whatever
 *       became of those before: the time of each is taken from when it was due, so one that has to
 *       wait because another is late counts as late too. With RATE 0, WINDOW are under way always.
 *       TASK "-" sends datagrams to an `echo` instead.
 *
 * HEAD and TO are ports of 127.0.0.1. BEAT, ANSWER and TASK are messages of the schema in hex, to
 * which the ids are added here. The first line of output says the port, `listen=127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <dcf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 17, ROOM = 2048, PING = 7, PONG = 8, BARE = 64 };
enum { BEAT_EVERY = 2000000, WARM = 1000000, PATIENCE = 10000000 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *must(void *made, const char *what) {
    if (!made) fail(what);
    return made;
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* ----------------------------------------------------------------- protocol buffers, a little of it */

static size_t from_hex(const char *hex, uint8_t *out) {
    size_t size = strlen(hex) / 2;
    if (size > ROOM / 2) fail("a message is too long");
    for (size_t i = 0; i < size; i++) sscanf(hex + 2 * i, "%2hhx", &out[i]);
    return size;
}

static size_t put_varint(uint8_t *out, uint64_t value) {
    size_t size = 0;
    for (; value > 0x7f; value >>= 7) out[size++] = value | 0x80;
    out[size++] = value;
    return size;
}

static size_t put_number(uint8_t *out, int field, uint64_t value) {
    size_t size = put_varint(out, field << 3);
    return size + put_varint(out + size, value);
}

static uint64_t take_varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80)) break;
    }
    return value;
}

/* The field 1 of a Task, Result, Error or Cancel. */
static uint64_t id_of(const uint8_t *at, size_t size) {
    const uint8_t *end = at + size;
    while (at < end) {
        uint64_t tag = take_varint(&at, end);
        if (tag == 1 << 3) return take_varint(&at, end);
        switch (tag & 7) {
        case 0: take_varint(&at, end); break;
        case 1: at += 8; break;
        case 2: {
            uint64_t length = take_varint(&at, end);
            if (length > (uint64_t)(end - at)) return 0;
            at += length;
            break;
        }
        default: at += 4;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------------ an endpoint */

struct mesh {
    dcf_endpoint *endpoint;
    dcf_socket *socket;
    dcf_clock *clock;
    dcf_address peer;
    int all_gone;
};

static dcf_address loopback(int port) { return (dcf_address){{127, 0, 0, 1}, DCF_IPV4, port, 0}; }

static void open_mesh(struct mesh *mesh, int peer) {
    dcf_limits limits;
    dcf_limits_default(&limits);
    mesh->endpoint = must(dcf_endpoint_new(&limits, NULL), "dcf_endpoint_new");
    mesh->clock = must(dcf_clock_new(), "dcf_clock_new");
    mesh->peer = loopback(peer);
    mesh->all_gone = 1;
    dcf_address own = loopback(0);
    if (dcf_socket_bind(&own, &mesh->socket)) fail("dcf_socket_bind");
    dcf_socket_address(mesh->socket, &own);
    printf("listen=127.0.0.1:%d\n", own.port);
    fflush(stdout);
}

static void receive(struct mesh *mesh) {
    while (dcf_socket_receive(mesh->socket, mesh->endpoint, dcf_clock_now(mesh->clock), dcf_clock_wall()) == 1) continue;
}

static int32_t send_message(struct mesh *mesh, int kind, const uint8_t *payload, size_t size) {
    return dcf_endpoint_send(mesh->endpoint, &mesh->peer, kind, payload, size, dcf_clock_now(mesh->clock), NULL);
}

static void flush(struct mesh *mesh) {
    dcf_endpoint_flush(mesh->endpoint, dcf_clock_now(mesh->clock), dcf_clock_wall());
    mesh->all_gone = dcf_socket_send(mesh->socket, mesh->endpoint);
}

/* Waits for datagrams, for `most` microseconds or until the endpoint has something to do. */
static void wait_for(struct mesh *mesh, double most) {
    uint64_t next, now = dcf_clock_now(mesh->clock);
    dcf_endpoint_next_timeout(mesh->endpoint, &next);
    double timeout = next > now ? next - now : 0;
    if (most < timeout) timeout = most > 0 ? most : 0;
    dcf_socket_wait(mesh->socket, !mesh->all_gone, timeout);
}

/* ----------------------------------------------------------------------------------- a bare socket */

static int udp(int peer) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, to = own;
    to.sin_port = htons(peer);
    if (bind(fd, (void *)&own, sizeof own) || (peer && connect(fd, (void *)&to, sizeof to))) fail("socket");
    return fd;
}

static void write_header(uint8_t *out, int kind, uint32_t sequence, uint32_t length) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint32_t s = htobe32(sequence), l = htobe32(length);
    uint64_t stamp = htobe64(t.tv_sec * 1000000ull + t.tv_nsec / 1000);
    out[0] = kind;
    memcpy(out + 1, &s, 4);
    memcpy(out + 5, &stamp, 8);
    memcpy(out + 13, &l, 4);
}

static void echo(void) {
    int fd = udp(0);
    struct sockaddr_in own, from;
    socklen_t length = sizeof own;
    getsockname(fd, (void *)&own, &length);
    printf("listen=127.0.0.1:%d\n", ntohs(own.sin_port));
    fflush(stdout);
    uint8_t bytes[ROOM];
    for (;;) {
        length = sizeof from;
        ssize_t size = recvfrom(fd, bytes, sizeof bytes, 0, (void *)&from, &length);
        if (size >= 0) {
            sendto(fd, bytes, size, 0, (void *)&from, length);
        } else {
            struct pollfd p = {fd, POLLIN, 0};
            poll(&p, 1, -1);
        }
    }
}

/* --------------------------------------------------------------------------------------- workers */

static void worker(int head, const char *beat_hex, const char *answer_hex) {
    struct mesh mesh;
    uint8_t beat[ROOM], answer[ROOM];
    size_t beat_size = from_hex(beat_hex, beat), answer_size = from_hex(answer_hex, answer);
    open_mesh(&mesh, head);
    double next_beat = now_us();
    for (;;) {
        receive(&mesh);
        dcf_event event;
        while (dcf_endpoint_next_event(mesh.endpoint, &event) == 1) {
            if (event.event != DCF_EVENT_MESSAGE || event.message_type != DCF_TASK) continue;
            size_t more = put_number(answer + answer_size, 1, id_of(event.payload, event.payload_size));
            dcf_address head_or_client = event.peer; /* a client too, when there is no head between */
            dcf_endpoint_send(mesh.endpoint, &head_or_client, DCF_RESULT, answer, answer_size + more, dcf_clock_now(mesh.clock), NULL);
        }
        double at = now_us();
        if (at >= next_beat) {
            if (head) send_message(&mesh, DCF_HEARTBEAT, beat, beat_size);
            next_beat = at + BEAT_EVERY;
        }
        flush(&mesh);
        wait_for(&mesh, next_beat - now_us());
    }
}

static void crowd(int head, const char *beat_hex, int count) {
    uint8_t beat[ROOM], bytes[ROOM];
    size_t size = from_hex(beat_hex, beat + HEADER) + HEADER;
    int all = epoll_create1(0), *fds = must(calloc(count, sizeof *fds), "calloc");
    for (int i = 0; i < count; i++) {
        fds[i] = udp(head);
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fds[i]};
        if (epoll_ctl(all, EPOLL_CTL_ADD, fds[i], &wanted)) fail("epoll_ctl");
    }
    puts("listen=127.0.0.1:0");
    fflush(stdout);
    double next = now_us();
    for (uint32_t turn = 0;;) {
        for (double at = now_us(); next <= at; next += (double)BEAT_EVERY / count, turn++) {
            int i = turn % count;
            uint8_t *end = beat + size; /* the last worker_id and incarnation are those that count */
            *end++ = 1 << 3 | 2;
            *end = sprintf((char *)end + 1, "crowd-%d", i);
            end += *end + 1;
            end += put_number(end, 2, i + 1);
            write_header(beat, DCF_HEARTBEAT, turn / count + 1, end - beat - HEADER);
            if (send(fds[i], beat, end - beat, 0) < 0) fail("send");
        }
        struct epoll_event ready[64];
        double wait = (next - now_us()) / 1000;
        int n = epoll_wait(all, ready, 64, wait > 0 ? wait + 1 : 0);
        for (int i = 0; i < n; i++)
            while (recv(ready[i].data.fd, bytes, sizeof bytes, 0) >= HEADER)
                if (bytes[0] == PING) {
                    bytes[0] = PONG;
                    memset(bytes + 13, 0, 4);
                    send(ready[i].data.fd, bytes, HEADER, 0);
                }
    }
}

/* ---------------------------------------------------------------------------------------- a client */

static double *due;         /* by the number of the task; 0 once answered */
static float *latencies;    /* microseconds */
static size_t sent, counted, answered, failed;
static double counts_from;  /* tasks due before only warm up */
static size_t room;

static void arrived(uint64_t number, int error, double at) {
    if (number >= sent || !due[number]) return;
    if (due[number] >= counts_from) {
        counted++;
        failed += error;
        if (!error) latencies[counted - failed - 1] = at - due[number];
    }
    due[number] = 0;
    answered++;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double share) {
    size_t count = counted - failed, at = count * share;
    return count ? latencies[at < count ? at : count - 1] : 0;
}

static void report(double took) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(latencies, counted - failed, sizeof *latencies, ascending);
    printf("{\"rate\": %.1f, \"sent\": %zu, \"answered\": %zu, \"failed\": %zu, \"cpu\": %.4f, \"p50\": %.1f, \"p99\": %.1f, "
           "\"p999\": %.1f, \"most\": %.1f}\n",
           (counted - failed) / took * 1e6, sent, answered, failed, cpu, percentile(0.5), percentile(0.99), percentile(0.999),
           percentile(1));
}

static void client(int to, const char *task_hex, double rate, double seconds, int window) {
    struct mesh mesh;
    int bare = !strcmp(task_hex, "-"), fd = bare ? udp(to) : -1;
    uint8_t task[ROOM], bytes[ROOM];
    size_t task_size = bare ? 0 : from_hex(task_hex, task);
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    uint64_t first_id = wall.tv_sec * 1000000ull; /* no earlier run used these */
    room = rate ? rate * (seconds + 2) : 20e6;
    due = must(calloc(room, sizeof *due), "calloc");
    latencies = must(calloc(room, sizeof *latencies), "calloc");
    if (bare) puts("listen=127.0.0.1:0");
    else open_mesh(&mesh, to);
    double begin = now_us(), end = begin + WARM + seconds * 1e6, at;
    counts_from = begin + WARM;
    double first_due = begin, last_arrival = begin;
    for (;;) {
        if (bare) {
            for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) >= 0;) {
                uint64_t number;
                memcpy(&number, bytes, sizeof number);
                arrived(number, 0, now_us());
            }
        } else {
            receive(&mesh);
            dcf_event event;
            while (dcf_endpoint_next_event(mesh.endpoint, &event) == 1) {
                if (event.event != DCF_EVENT_MESSAGE) continue;
                if (event.message_type != DCF_RESULT && event.message_type != DCF_ERROR) continue;
                last_arrival = now_us();
                arrived(id_of(event.payload, event.payload_size) - first_id, event.message_type == DCF_ERROR, last_arrival);
            }
        }
        at = now_us();
        double next_due = rate ? first_due + sent * 1e6 / rate : at;
        while (at < end && sent < room && (rate ? next_due <= at && next_due < end : sent - answered < (size_t)window)) {
            due[sent] = next_due;
            if (bare) {
                uint64_t number = sent;
                memset(bytes, 0, BARE);
                memcpy(bytes, &number, sizeof number);
                send(fd, bytes, BARE, 0);
            } else {
                size_t more = put_number(task + task_size, 1, first_id + sent);
                int32_t result = send_message(&mesh, DCF_TASK, task, task_size + more);
                if (result < 0) {
                    fprintf(stderr, "%s\n", dcf_describe(result));
                    exit(1);
                }
            }
            sent++;
            if (rate) next_due = first_due + sent * 1e6 / rate;
        }
        if (at >= end && (answered == sent || at > end + PATIENCE || (bare && at > end + WARM))) break;
        double most = at >= end ? 1000 : rate ? next_due - now_us() : 1e5;
        if (at < end && most > end - at) most = end - at;
        if (bare) {
            struct timespec timeout = {0, most > 0 ? most * 1000 : 0};
            struct pollfd p = {fd, POLLIN, 0};
            ppoll(&p, 1, &timeout, NULL);
        } else {
            flush(&mesh);
            wait_for(&mesh, most);
        }
    }
    report((last_arrival > end ? last_arrival : end) - counts_from);
}

int main(int count, char **words) {
    prctl(PR_SET_TIMERSLACK, 1);
    prctl(PR_SET_PDEATHSIG, 9);
    const char *what = count > 1 ? words[1] : "";
    if (count == 2 && !strcmp(what, "echo")) echo();
    else if (count == 5 && !strcmp(what, "worker")) worker(atoi(words[2]), words[3], words[4]);
    else if (count == 5 && !strcmp(what, "crowd")) crowd(atoi(words[2]), words[3], atoi(words[4]));
    else if (count == 7 && !strcmp(what, "client")) client(atoi(words[2]), words[3], atof(words[4]), atof(words[5]), atoi(words[6]));
    else return fprintf(stderr, "usage: see the head of head_load.c\n"), 2;
    return 0;
}
