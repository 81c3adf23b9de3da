/* The other ends of the shim's benchmark, each on one core:
 *
 *   shim_load reflect PORT            sends every datagram back: the ceiling of recvmmsg and sendmmsg
 *   shim_load head PORT               a DAIIC head that answers every TASK at once, as large as it came
 *   shim_load load PORT KIND SIZE CLIENTS WINDOW SECONDS RATE
 *       KIND "echo": any datagram comes back; "dcf": TASKs, answered by RESULTs, both acknowledged.
 *       SIZE is of whole datagrams. RATE in messages a second, 0: as WINDOW per client allows.
 *       Prints messages a second, the share lost, and p50 and p99 of the round trip in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SLOT = 2048, HEADER = 17, ROOM = 1200, REMEMBERED = 65536, BUCKETS = 200000 };
enum { TASK = 2, RESULT = 3, ACK = 6, PING = 7, PONG = 8, SACK = 0x20, GROUP = 0x24 };

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* A batch of datagrams with their addresses. */
struct batch {
    struct mmsghdr headers[BATCH];
    struct iovec vectors[BATCH];
    struct sockaddr_in addresses[BATCH];
    uint8_t bytes[BATCH][SLOT];
    int count;
};

static void prepare(struct batch *b, int named) {
    for (int i = 0; i < BATCH; i++) {
        b->vectors[i] = (struct iovec){b->bytes[i], SLOT};
        b->headers[i].msg_hdr = (struct msghdr){.msg_iov = &b->vectors[i], .msg_iovlen = 1};
        if (named) {
            b->headers[i].msg_hdr.msg_name = &b->addresses[i];
            b->headers[i].msg_hdr.msg_namelen = sizeof b->addresses[i];
        }
    }
}

static int receive(int fd, struct batch *b, int named) {
    prepare(b, named);
    int n = recvmmsg(fd, b->headers, BATCH, MSG_DONTWAIT, NULL);
    return n < 0 ? 0 : n;
}

static void flush(int fd, struct batch *b) {
    int done = 0;
    while (done < b->count) {
        int n = sendmmsg(fd, b->headers + done, b->count - done, 0);
        if (n < 0 && errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR) fail("sendmmsg");
        done += n < 0 ? 1 : n;
    }
    b->count = 0;
}

/* Returns room for one more datagram, sending those there are if need be. */
static uint8_t *next(int fd, struct batch *b, const struct sockaddr_in *to) {
    if (b->count == BATCH) flush(fd, b);
    if (b->count == 0) prepare(b, to != NULL);
    if (to) b->addresses[b->count] = *to;
    return b->bytes[b->count];
}

static void done(struct batch *b, int size) { b->vectors[b->count++].iov_len = size; }

static int write_header(uint8_t *out, int kind, uint32_t sequence, uint32_t length) {
    uint32_t s = htobe32(sequence), l = htobe32(length);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t stamp = htobe64(t.tv_sec * 1000000ull + t.tv_nsec / 1000);
    out[0] = kind;
    memcpy(out + 1, &s, 4);
    memcpy(out + 5, &stamp, 8);
    memcpy(out + 13, &l, 4);
    return HEADER;
}

static uint32_t read_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return be32toh(value);
}

static int udp(int port, int bound) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size)) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size)) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bound ? bind(fd, (void *)&address, sizeof address) : connect(fd, (void *)&address, sizeof address)) fail("socket");
    return fd;
}

static void wait_for(int fd) {
    struct pollfd p = {fd, POLLIN, 0};
    poll(&p, 1, -1);
}

static void reflect(int port) {
    static struct batch b;
    int fd = udp(port, 1);
    for (;;) {
        int n = receive(fd, &b, 1);
        if (!n) wait_for(fd);
        for (int i = 0; i < n; i++) b.vectors[i].iov_len = b.headers[i].msg_len;
        b.count = n;
        flush(fd, &b);
    }
}

/* ------------------------------------------------------------------------ head */

/* Messages on their way to the shim, joined in BATCHes. */
static uint8_t group[HEADER + ROOM];
static int group_size = HEADER;

static void send_group(int fd, struct batch *out, const struct sockaddr_in *to) {
    if (group_size == HEADER) return;
    uint8_t *at = next(fd, out, to);
    uint32_t first = HEADER + read_u32(group + HEADER + 13);
    if ((int)first == group_size - HEADER) {
        memcpy(at, group + HEADER, first);
        done(out, first);
    } else {
        write_header(group, GROUP, 0, group_size - HEADER);
        memcpy(at, group, group_size);
        done(out, group_size);
    }
    group_size = HEADER;
}

static uint8_t *add_message(int fd, struct batch *out, const struct sockaddr_in *to, int kind, uint32_t sequence, int length) {
    if (group_size + HEADER + length > ROOM) send_group(fd, out, to);
    uint8_t *at = group + group_size;
    write_header(at, kind, sequence, length);
    group_size += HEADER + length;
    return at + HEADER;
}

static uint32_t sequence_of_answers = 1;

static void take(int fd, struct batch *out, const struct sockaddr_in *from, const uint8_t *m, int length) {
    if (m[0] == PING) {
        memcpy(next(fd, out, from), m, HEADER);
        out->bytes[out->count][0] = PONG;
        done(out, HEADER);
    } else if (m[0] == TASK) {
        memcpy(add_message(fd, out, from, SACK, 0, 8), m + 1, 4);
        memcpy(group + group_size - 4, m + 1, 4);
        /* The same id (the first six bytes), "final", and the rest as text. */
        uint8_t *answer = add_message(fd, out, from, RESULT, sequence_of_answers++, length);
        const uint8_t *id = m + HEADER;
        int rest = length - 8 - 3;
        memcpy(answer, id, 6);
        memcpy(answer + 6, "\x18\x01\x42", 3);
        answer[9] = (rest & 0x7f) | 0x80;
        answer[10] = rest >> 7;
        memset(answer + 11, 'x', rest);
    }
}

static void head(int port) {
    static struct batch in, out;
    int fd = udp(port, 1);
    for (;;) {
        int n = receive(fd, &in, 1);
        if (!n) wait_for(fd);
        for (int i = 0; i < n; i++) {
            const uint8_t *m = in.bytes[i], *end = m + in.headers[i].msg_len;
            if (i && in.addresses[i].sin_port != in.addresses[i - 1].sin_port) send_group(fd, &out, &in.addresses[i - 1]);
            if (m[0] != GROUP) {
                take(fd, &out, &in.addresses[i], m, end - m - HEADER);
            } else {
                for (m += HEADER; m < end; m += HEADER + read_u32(m + 13)) take(fd, &out, &in.addresses[i], m, read_u32(m + 13));
            }
        }
        if (n) send_group(fd, &out, &in.addresses[n - 1]);
        flush(fd, &out);
    }
}

/* ------------------------------------------------------------------------ load */

struct client {
    int fd, outstanding;
    uint32_t sequence;
    double sent_at[REMEMBERED];
    struct batch out;
};

static uint32_t histogram[BUCKETS];
static double sent, answered;

static void send_task(struct client *c, int size, double at) {
    uint8_t *m = next(c->fd, &c->out, NULL);
    uint32_t sequence = ++c->sequence;
    int length = size - HEADER, text = length - 6 - 3;
    write_header(m, TASK, sequence, length);
    /* Task: an id of five bytes, and a model's name as long as it takes. */
    uint64_t id = 0x10000000u + sequence % 0x10000000u;
    m[HEADER] = 0x08;
    for (int i = 0; i < 5; i++) m[HEADER + 1 + i] = (id >> (7 * i) & 0x7f) | (i < 4 ? 0x80 : 0);
    memcpy(m + HEADER + 6, (uint8_t[]){0x12, (text & 0x7f) | 0x80, text >> 7}, 3);
    memset(m + HEADER + 9, 'm', text);
    done(&c->out, size);
    c->sent_at[sequence % REMEMBERED] = at;
    c->outstanding++;
    sent++;
}

static void answer_arrived(struct client *c, uint32_t sequence, double at) {
    double *sent_at = &c->sent_at[sequence % REMEMBERED];
    if (!*sent_at) return;
    double us = at - *sent_at;
    histogram[us >= BUCKETS ? BUCKETS - 1 : (int)us]++;
    *sent_at = 0;
    c->outstanding--;
    answered++;
}

static void take_message(struct client *c, const uint8_t *m, double at) {
    if (m[0] == PING) {
        memcpy(next(c->fd, &c->out, NULL), m, HEADER);
        c->out.bytes[c->out.count][0] = PONG;
        done(&c->out, HEADER);
    } else if (m[0] == RESULT) {
        write_header(next(c->fd, &c->out, NULL), ACK, read_u32(m + 1), 0);
        done(&c->out, HEADER);
        uint64_t id = 0;
        for (int k = 0; k < 5; k++) id |= (uint64_t)(m[HEADER + 1 + k] & 0x7f) << (7 * k);
        answer_arrived(c, id - 0x10000000u, at);
    }
}

static int take_answers(struct client *c, int dcf, double at) {
    static struct batch in;
    int n = receive(c->fd, &in, 0);
    for (int i = 0; i < n; i++) {
        const uint8_t *m = in.bytes[i], *end = m + in.headers[i].msg_len;
        if (!dcf) {
            answer_arrived(c, read_u32(m + 1), at);
        } else if (m[0] != GROUP) {
            take_message(c, m, at);
        } else { /* from a head without the shim between */
            for (m += HEADER; m < end; m += HEADER + read_u32(m + 13)) take_message(c, m, at);
        }
    }
    return n;
}

static int percentile(double share) {
    double seen = 0;
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) >= share * answered) return i;
    return BUCKETS;
}

static void load(int port, int dcf, int size, int clients, int window, double seconds, double rate) {
    struct client *all = calloc(clients, sizeof *all);
    struct pollfd *polls = calloc(clients, sizeof *polls);
    for (int i = 0; i < clients; i++) {
        all[i].fd = udp(port, 0);
        polls[i] = (struct pollfd){all[i].fd, POLLIN, 0};
    }
    double begin = now_us(), measured = begin + 5e5, end = measured + seconds * 1e6, heard = begin;
    double due = 0, last = begin, at;
    int turn = 0, warm = 0;
    while ((at = now_us()) < end) {
        if (!warm && at >= measured) {
            warm = 1;
            sent = answered = 0;
            memset(histogram, 0, sizeof histogram);
        }
        int got = 0;
        for (int i = 0; i < clients; i++) got += take_answers(&all[i], dcf, now_us());
        if (got) heard = at;
        if (rate) {
            due += rate * (at - last) / 1e6;
            last = at;
            for (; due >= 1; due--) send_task(&all[turn++ % clients], size, now_us());
        } else if (at - heard > 1e5) {
            for (int i = 0; i < clients; i++) all[i].outstanding = 0; /* all lost: begin again */
            heard = at;
        }
        for (int i = 0; i < clients; i++) {
            while (!rate && all[i].outstanding < window) send_task(&all[i], size, at);
            flush(all[i].fd, &all[i].out);
        }
        if (rate) {
            /* Leave the core to the far end; what waits for answers here is the same for all. */
            nanosleep(&(struct timespec){0, 20000}, NULL);
        } else if (!got) {
            poll(polls, clients, 10);
        }
    }
    double took = (now_us() - measured) / 1e6;
    printf("{\"rate\": %.0f, \"lost\": %.5f, \"p50\": %d, \"p99\": %d}\n", answered / took,
           sent > answered ? (sent - answered) / sent : 0, percentile(0.5), percentile(0.99));
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "reflect")) reflect(atoi(words[2]));
    if (count == 3 && !strcmp(words[1], "head")) head(atoi(words[2]));
    if (count == 9 && !strcmp(words[1], "load")) {
        load(atoi(words[2]), !strcmp(words[3], "dcf"), atoi(words[4]), atoi(words[5]), atoi(words[6]), atof(words[7]), atof(words[8]));
        return 0;
    }
    fprintf(stderr, "usage: see the head of shim_load.c\n");
    return 2;
}
