/* A stand-in for a vendor of chat completions, on one core, as fast as a socket allows.
 *
 *     upstream PORT        0 takes a free port; the port is printed when it listens
 *
 * A request without `"stream": true` is answered at once with a body of exactly 600 bytes. A stream has `max_tokens` events of
 * one token each, the first at once and each further `seed` milliseconds after the one before; the end of the stream comes with
 * the last. Tokens are marks, `@a`, `@b` …, so that whoever reads can tell whether all came, and in order. Usage is sent where
 * `include_usage` is asked for. A GET is answered with an empty list.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

#define ANSWER_BYTES 600
#define READY 512
#define CHUNK "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"bench-chat\",\"choices\":["
#define COMMON "Content-Type: application/json\r\nContent-Length: "

struct connection {
    int socket;
    int event, events; /* the next event of a stream, and how many it has; 0 where none is under way */
    int usage;
    int waiting; /* in the heap */
    int64_t gap, due;
    size_t unsent, sent;
    char *rest; /* what the socket did not take yet */
    size_t length;
    char body[16384];
    struct message message;
};

static int poller;
static struct connection **heap;
static size_t heap_length, heap_room;
static char answer[1024];
static size_t answer_length;
static const char nothing[] = "HTTP/1.1 200 OK\r\n" COMMON "27\r\n\r\n{\"object\":\"list\",\"data\":[]}";
static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void make_answer(void) {
    const char *before =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"bench-chat\",\"choices\":"
        "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"@a";
    const char *after =
        "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":60,"
        "\"total_tokens\":84}}";
    int padding = ANSWER_BYTES - (int)strlen(before) - (int)strlen(after);
    char filler[ANSWER_BYTES];
    for (int i = 0; i < padding; i++) filler[i] = "and so on "[i % 10];
    filler[padding] = 0;
    answer_length = (size_t)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n" COMMON "%d\r\n\r\n%s%s%s", ANSWER_BYTES, before,
                                     filler, after);
}

static void swap(size_t a, size_t b) {
    struct connection *kept = heap[a];
    heap[a] = heap[b];
    heap[b] = kept;
}

static void wait_until(struct connection *connection, int64_t due) {
    size_t at = heap_length++;
    if (heap_length > heap_room) heap = realloc(heap, (heap_room = heap_room ? 2 * heap_room : 64) * sizeof *heap);
    connection->due = due;
    connection->waiting = 1;
    heap[at] = connection;
    for (; at && heap[(at - 1) / 2]->due > heap[at]->due; at = (at - 1) / 2) swap(at, (at - 1) / 2);
}

static void remove_at(size_t at) {
    heap[at]->waiting = 0;
    heap[at] = heap[--heap_length];
    for (; at && at < heap_length && heap[(at - 1) / 2]->due > heap[at]->due; at = (at - 1) / 2) swap(at, (at - 1) / 2);
    for (;;) {
        size_t least = at, left = 2 * at + 1, right = left + 1;
        if (left < heap_length && heap[left]->due < heap[least]->due) least = left;
        if (right < heap_length && heap[right]->due < heap[least]->due) least = right;
        if (least == at) return;
        swap(at, least);
        at = least;
    }
}

static void end(struct connection *connection) {
    for (size_t at = 0; connection->waiting && at < heap_length; at++)
        if (heap[at] == connection) remove_at(at);
    close(connection->socket);
    free(connection->rest);
    free(connection);
}

static void watch(struct connection *connection, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, operation, connection->socket, &event);
}

/* Send, and keep what the socket does not take. Returns -1 where nobody is there any more. */
static int say(struct connection *connection, const char *data, size_t length) {
    ssize_t sent = send(connection->socket, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    if ((size_t)sent == length) return 0;
    connection->unsent = length - (size_t)sent;
    connection->sent = 0;
    connection->rest = realloc(connection->rest, connection->unsent);
    memcpy(connection->rest, data + sent, connection->unsent);
    watch(connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    return 0;
}

static size_t put_chunk(char *out, const char *payload, int length) {
    return (size_t)sprintf(out, "%x\r\n%.*s\r\n", (unsigned)length, length, payload);
}

static int say_event(struct connection *connection) {
    char payload[1024], out[4096];
    size_t length = 0;
    int last = connection->event + 1 == connection->events, size;
    if (!connection->event) length = (size_t)sprintf(out, "%s", stream_head);
    size = sprintf(payload, "data: " CHUNK "{\"index\":0,\"delta\":{%s\"content\":\"@%c and \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                   connection->event ? "" : "\"role\":\"assistant\",", 'a' + connection->event % 26);
    length += put_chunk(out + length, payload, size);
    if (last) {
        size = sprintf(payload, "data: " CHUNK "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
        length += put_chunk(out + length, payload, size);
        if (connection->usage) {
            size = sprintf(payload, "data: " CHUNK "],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
                           connection->events, connection->events + 24);
            length += put_chunk(out + length, payload, size);
        }
        length += put_chunk(out + length, "data: [DONE]\n\n", 14);
        length += (size_t)sprintf(out + length, "0\r\n\r\n");
    }
    connection->event++;
    if (last) connection->events = 0;
    return say(connection, out, length);
}

static void keep(void *owner, const char *data, size_t length) {
    struct connection *connection = owner;
    size_t room = sizeof connection->body - 1 - connection->length;
    if (length > room) length = room;
    memcpy(connection->body + connection->length, data, length);
    connection->length += length;
}

/* The value of a member of the body as text, or NULL where it has none. */
static const char *member(const struct connection *connection, const char *name) {
    const char *at = strstr(connection->body, name);
    if (!at) return NULL;
    for (at += strlen(name); *at == '"' || *at == ':' || *at == ' ';) at++;
    return at;
}

static int answer_request(struct connection *connection) {
    const char *stream, *events, *gap, *usage;
    size_t length = connection->length;
    connection->body[length] = 0;
    connection->length = 0;
    message_begin(&connection->message);
    if (!length) return say(connection, nothing, sizeof nothing - 1);
    stream = member(connection, "\"stream\"");
    if (!stream || *stream != 't') return say(connection, answer, answer_length);
    events = member(connection, "\"max_tokens\"");
    gap = member(connection, "\"seed\"");
    usage = member(connection, "\"include_usage\"");
    connection->event = 0;
    connection->events = events ? atoi(events) : 1;
    if (connection->events < 1) connection->events = 1;
    connection->gap = (gap ? atoi(gap) : 0) * INT64_C(1000000);
    connection->usage = usage && *usage == 't';
    if (say_event(connection) < 0) return -1;
    if (connection->events) wait_until(connection, now() + connection->gap);
    return 0;
}

static int flush(struct connection *connection) {
    ssize_t sent = send(connection->socket, connection->rest + connection->sent, connection->unsent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    connection->sent += (size_t)sent;
    connection->unsent -= (size_t)sent;
    if (!connection->unsent) watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    return 0;
}

static int hear(struct connection *connection) {
    static char buffer[65536];
    ssize_t got = recv(connection->socket, buffer, sizeof buffer, 0);
    size_t at = 0;
    if (got < 0) return errno == EAGAIN ? 0 : -1;
    if (got == 0) return -1;
    while (at < (size_t)got) {
        long taken = message_feed(&connection->message, buffer + at, (size_t)got - at, keep, connection);
        if (taken < 0) return -1;
        at += (size_t)taken;
        if (connection->message.state == DONE && answer_request(connection) < 0) return -1;
    }
    return 0;
}

static void say_what_is_due(void) {
    int64_t time = now();
    while (heap_length && heap[0]->due <= time) {
        struct connection *connection = heap[0];
        remove_at(0);
        if (!connection->unsent && say_event(connection) < 0) {
            end(connection);
            continue;
        }
        /* A reader that is slow gets the next event later, never two at once. */
        if (connection->events) wait_until(connection, connection->due + connection->gap);
    }
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event ready[READY], listening = {.events = EPOLLIN};
    if (count != 2) return fprintf(stderr, "usage: %s PORT\n", words[0]), 2;
    signal(SIGPIPE, SIG_IGN);
    address.sin_port = htons((uint16_t)atoi(words[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096)) return perror("upstream"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    make_answer();
    poller = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listening);
    for (;;) {
        struct timespec left = {0}, *most = NULL;
        if (heap_length) {
            int64_t wait = heap[0]->due - now();
            if (wait > 0) left = (struct timespec){wait / 1000000000, wait % 1000000000};
            most = &left;
        }
        int found = epoll_pwait2(poller, ready, READY, most, NULL);
        for (int i = 0; i < found; i++) {
            struct connection *connection = ready[i].data.ptr;
            if (!connection) {
                int accepted;
                while ((accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    connection = calloc(1, sizeof *connection);
                    connection->socket = accepted;
                    message_begin(&connection->message);
                    watch(connection, EPOLLIN, EPOLL_CTL_ADD);
                }
                continue;
            }
            if (ready[i].events & EPOLLOUT && connection->unsent && flush(connection) < 0) {
                end(connection);
                continue;
            }
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && hear(connection) < 0) end(connection);
        }
        say_what_is_due();
    }
}
