/* One end of a transfer over libdcf, with or without links, or over TCP: what usb4.py starts in two network
 * namespaces. Prints a line of JSON when it is over.
 *
 *   dcf HOST PORT - 0 plain|sealed links|network         receives, and answers small messages
 *   dcf HOST PORT PEER:PORT BYTES plain|sealed links|network    sends that many bytes
 *   tcp HOST%DEVICE PORT - 0  /  tcp HOST%DEVICE PORT PEER BYTES
 */
#define _GNU_SOURCE /* for ppoll */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "dcf.h"

#define MESSAGE (256 << 10)
#define UNDER_WAY 64
#define ROUND_TRIPS 2000
#define SECOND UINT64_C(1000000)
#define QUIET (2 * SECOND)

static const uint8_t KEY[32] = {1, 2, 3};
static uint8_t payload[MESSAGE];

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* ------------------------------------------------------------------------------------------ dcf */

struct end {
    dcf_endpoint *endpoint;
    dcf_socket *socket;
    dcf_links *links;
    dcf_clock *clock;
};

static uint64_t counter(dcf_links *links, const char *wanted) {
    const char *name;
    uint64_t value = 0;
    for (size_t i = 0; links && dcf_links_counter(links, i, &name, NULL, &value) == 1; i++)
        if (strcmp(name, wanted) == 0)
            return value;
    return 0;
}

/* Receives, sends, and waits for no longer than `longest`. */
static void turn(struct end *end, uint64_t longest) {
    uint64_t now = dcf_clock_now(end->clock), next, at;
    dcf_endpoint_flush(end->endpoint, now, dcf_clock_wall());
    if (end->links)
        dcf_links_send(end->links, end->endpoint, now);
    int all_gone = dcf_socket_send(end->socket, end->endpoint) == 1;
    dcf_endpoint_next_timeout(end->endpoint, &next);
    if (end->links && dcf_links_next_timeout(end->links, &at) == 0 && at < next)
        next = at;
    uint64_t wait = next > now ? next - now : 0;
    if (wait > longest)
        wait = longest;
    struct pollfd fds[2] = {{dcf_socket_fd(end->socket), all_gone ? POLLIN : POLLIN | POLLOUT, 0},
                            {end->links ? dcf_links_fd(end->links) : -1, POLLIN, 0}};
    struct timespec timeout = {wait / SECOND, wait % SECOND * 1000};
    ppoll(fds, 2, &timeout, NULL);
    now = dcf_clock_now(end->clock);
    if (end->links)
        dcf_links_receive(end->links, end->endpoint, now, dcf_clock_wall());
    while (dcf_socket_receive(end->socket, end->endpoint, now, dcf_clock_wall()) == 1)
        continue;
}

static dcf_address address_of(const char *host, int port) {
    dcf_address address = {{0}, DCF_IPV4, (uint16_t)port, 0};
    if (inet_pton(AF_INET, host, address.ip) != 1)
        fail(host);
    return address;
}

static void receive(struct end *end) {
    uint64_t bytes = 0, heard = dcf_clock_now(end->clock);
    double began = 0;
    dcf_event event;
    while (!bytes || dcf_clock_now(end->clock) < heard + QUIET) {
        turn(end, 100000);
        while (dcf_endpoint_next_event(end->endpoint, &event) == 1)
            if (event.event == DCF_EVENT_MESSAGE) {
                heard = dcf_clock_now(end->clock);
                if (event.payload_size < 100) {
                    dcf_endpoint_send(end->endpoint, &event.peer, DCF_RESULT, event.payload,
                                      event.payload_size, heard, NULL);
                    continue;
                }
                if (!bytes)
                    began = cpu_seconds();
                bytes += event.payload_size;
            }
    }
    printf("{\"bytes\": %llu, \"cpu\": %.3f}\n", (unsigned long long)bytes, cpu_seconds() - began);
}

static int compare(const void *one, const void *other) {
    const uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

/* The median and the 99th hundredth of round trips, in microseconds. */
static void round_trips(struct end *end, const dcf_address *peer, uint32_t *median, uint32_t *late) {
    static uint32_t times[ROUND_TRIPS];
    dcf_event event;
    for (int i = 0; i < ROUND_TRIPS; i++) {
        uint64_t sent = now_us();
        dcf_endpoint_send(end->endpoint, peer, DCF_TASK, payload, 64, dcf_clock_now(end->clock), NULL);
        for (int answered = 0; !answered;) {
            turn(end, 100000);
            while (dcf_endpoint_next_event(end->endpoint, &event) == 1)
                answered |= event.event == DCF_EVENT_MESSAGE;
        }
        times[i] = (uint32_t)(now_us() - sent);
    }
    qsort(times, ROUND_TRIPS, sizeof *times, compare);
    *median = times[ROUND_TRIPS / 2], *late = times[ROUND_TRIPS * 99 / 100];
}

static void send_bytes(struct end *end, const dcf_address *peer, uint64_t total) {
    dcf_event event;
    uint32_t median, late;
    dcf_endpoint_send(end->endpoint, peer, DCF_TASK, payload, 64, dcf_clock_now(end->clock), NULL);
    /* Until the path is found, if there is to be one, and takes what the device does. */
    for (uint64_t until = now_us() + 3 * SECOND; now_us() < until;) {
        turn(end, 10000);
        while (dcf_endpoint_next_event(end->endpoint, &event) == 1)
            continue;
    }
    round_trips(end, peer, &median, &late);
    uint64_t queued = 0, delivered = 0, began = now_us(), last = began, pause = 0;
    uint64_t linked = counter(end->links, "link_bytes_sent");
    double cpu = cpu_seconds();
    while (delivered < total) {
        while (queued < total && queued - delivered < (uint64_t)UNDER_WAY * MESSAGE) {
            dcf_endpoint_send(end->endpoint, peer, DCF_TASK, payload, MESSAGE,
                              dcf_clock_now(end->clock), NULL);
            queued += MESSAGE;
        }
        turn(end, 100000);
        while (dcf_endpoint_next_event(end->endpoint, &event) == 1)
            if (event.event == DCF_EVENT_DELIVERED) {
                uint64_t now = now_us();
                delivered += MESSAGE;
                if (now - last > pause)
                    pause = now - last;
                last = now;
            } else if (event.event == DCF_EVENT_UNREACHABLE) {
                fprintf(stderr, "unreachable\n");
                exit(1);
            }
    }
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu\": %.3f, \"median_us\": %u, \"late_us\": %u, "
           "\"pause\": %.3f, \"linked\": %llu}\n",
           (unsigned long long)total, (now_us() - began) / 1e6, cpu_seconds() - cpu, median, late,
           pause / 1e6, (unsigned long long)(counter(end->links, "link_bytes_sent") - linked));
}

static void dcf(char **words) {
    const uint8_t *key = strcmp(words[6], "sealed") == 0 ? KEY : NULL;
    dcf_limits limits;
    dcf_limits_default(&limits);
    struct end end = {dcf_endpoint_new(&limits, key), NULL, NULL, dcf_clock_new()};
    dcf_address own = address_of(words[2], atoi(words[3]));
    if (dcf_socket_bind(&own, &end.socket) != 0)
        fail("bind");
    if (strcmp(words[7], "links") == 0 && dcf_links_new("thunderbolt", key, &end.links) != 0)
        fail("links");
    if (words[4][0] == '-') {
        receive(&end);
        return;
    }
    char *port = strrchr(words[4], ':');
    *port++ = 0;
    dcf_address peer = address_of(words[4], atoi(port));
    send_bytes(&end, &peer, strtoull(words[5], NULL, 10));
}

/* ------------------------------------------------------------------------------------------ tcp */

static int tcp_socket(const char *host, const char *port, struct addrinfo **found) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(host, port, &hints, found) != 0)
        fail(host);
    int made = socket((*found)->ai_family, SOCK_STREAM, 0), on = 1;
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    return made;
}

static void tcp(char **words) {
    struct addrinfo *found;
    uint64_t total = strtoull(words[5], NULL, 10), done = 0;
    if (words[4][0] == '-') {
        int listening = tcp_socket(words[2], words[3], &found);
        if (bind(listening, found->ai_addr, found->ai_addrlen) != 0 || listen(listening, 1) != 0)
            fail("listen");
        int from = accept(listening, NULL, NULL);
        double cpu = cpu_seconds();
        for (ssize_t got; (got = read(from, payload, sizeof payload)) > 0;)
            done += got;
        if (write(from, "!", 1) != 1)
            fail("write");
        printf("{\"bytes\": %llu, \"cpu\": %.3f}\n", (unsigned long long)done, cpu_seconds() - cpu);
        return;
    }
    int to = tcp_socket(words[4], words[3], &found);
    if (connect(to, found->ai_addr, found->ai_addrlen) != 0)
        fail("connect");
    uint64_t began = now_us();
    double cpu = cpu_seconds();
    while (done < total) {
        ssize_t gone = write(to, payload, sizeof payload);
        if (gone <= 0)
            fail("write");
        done += gone;
    }
    shutdown(to, SHUT_WR);
    if (read(to, payload, 1) != 1)
        fail("read");
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu\": %.3f}\n", (unsigned long long)done,
           (now_us() - began) / 1e6, cpu_seconds() - cpu);
}

int main(int count, char **words) {
    if (count == 8 && strcmp(words[1], "dcf") == 0)
        dcf(words);
    else if (count == 6 && strcmp(words[1], "tcp") == 0)
        tcp(words);
    else
        return 2;
    return 0;
}
