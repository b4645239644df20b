/* A generator of load on one core, which checks every answer and prints one line of JSON.
 *
 *     load --port 8700 --connections 64 --seconds 5 --body request.json [--header 'Name: value' …]
 *
 * Each connection sends the request, reads the answer to its end, checks it and sends again. An answer is right with status 200,
 * with `--marks` marks (`@a`, `@b` … in this order), with `--length` bytes where given, and with `[DONE]` where `--done` is given.
 * What ends in the `--warmup` counts for nothing; after `--seconds` no more is sent, and what is under way has `--grace` seconds.
 * `--ramp MS` spreads the start of the connections over that time; with `--once` each asks once. Times are from sending to the first byte of the body, and to
 * its end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

#define READY 512
#define MOST_ERRORS 1000

enum phase { IDLE, CONNECTING, SENDING, READING };

struct connection {
    int socket;
    enum phase phase;
    int fresh; /* nothing was asked on this connection before */
    int served;
    int64_t start, sent, first;
    size_t written, length;
    int marks, wrong, done, marked;
    struct message message;
    size_t kept;
    char beginning[160]; /* of the body, to show where it is wrong */
};

struct times {
    int64_t *values;
    size_t count, room;
};

static int poller, port, wanted_marks, wanted_done, only_once;
static size_t wanted_length;
static char *request;
static size_t request_length;
static int64_t window_begins, window_ends;
static uint64_t answers, all_answers, errors, reconnects, marks_seen;
static size_t under_way;
static char first_error[512];
static struct times first_times, whole_times;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void note(struct times *times, int64_t value) {
    if (times->count == times->room) {
        times->room = times->room ? 2 * times->room : 65536;
        times->values = realloc(times->values, times->room * sizeof *times->values);
    }
    times->values[times->count++] = value;
}

static void print_times(const char *name, struct times *times) {
    const double shares[] = {0.5, 0.9, 0.99, 1};
    const char *words[] = {"p50", "p90", "p99", "max"};
    qsort(times->values, times->count, sizeof *times->values, compare);
    printf(", \"%s_ms\": {", name);
    for (int i = 0; times->count && i < 4; i++) {
        size_t at = (size_t)(shares[i] * (double)times->count);
        if (at >= times->count) at = times->count - 1;
        printf("%s\"%s\": %.4f", i ? ", " : "", words[i], (double)times->values[at] / 1e6);
    }
    printf("}");
}

static void watch(struct connection *connection, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, operation, connection->socket, &event);
}

static void hang_up(struct connection *connection) {
    if (connection->socket >= 0) close(connection->socket);
    connection->socket = -1;
    connection->phase = IDLE;
}

static void dial(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    connection->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(connection->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    connect(connection->socket, (struct sockaddr *)&address, sizeof address);
    connection->phase = CONNECTING;
    connection->fresh = 1;
    watch(connection, EPOLLOUT, EPOLL_CTL_ADD);
}

static void went_wrong(struct connection *connection, const char *what) {
    errors++;
    if (!*first_error) {
        connection->beginning[connection->kept] = 0;
        snprintf(first_error, sizeof first_error, "%s; status %d, %zu bytes, %d marks: %s", what, connection->message.status,
                 connection->length, connection->marks, connection->beginning);
        for (char *at = first_error; *at; at++)
            if ((unsigned char)*at < 32 || *at == '"' || *at == '\\') *at = '\'';
    }
}

static void ask(struct connection *connection);

/* Sends on; asks anew on another connection where this one was closed while it was idle. */
static void send_on(struct connection *connection) {
    ssize_t sent = send(connection->socket, request + connection->written, request_length - connection->written, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        if (connection->fresh) went_wrong(connection, "the connection broke");
        else reconnects++;
        hang_up(connection);
        ask(connection);
        return;
    }
    if (sent > 0) connection->written += (size_t)sent;
    if (connection->written == request_length) {
        if (connection->phase == SENDING) watch(connection, EPOLLIN, EPOLL_CTL_MOD);
        connection->phase = READING;
    } else {
        connection->phase = SENDING;
        watch(connection, EPOLLOUT, EPOLL_CTL_MOD);
    }
}

static void ask(struct connection *connection) {
    connection->written = connection->length = connection->kept = 0;
    connection->marks = connection->wrong = connection->done = connection->marked = 0;
    connection->first = 0;
    message_begin(&connection->message);
    connection->sent = now();
    if (connection->sent >= window_ends || errors >= MOST_ERRORS || (only_once && connection->served)) {
        hang_up(connection);
        under_way--;
        return;
    }
    if (connection->socket < 0) {
        dial(connection);
        return;
    }
    connection->phase = READING;
    send_on(connection);
}

static void check(void *owner, const char *data, size_t length) {
    static const char done[] = "[DONE]";
    struct connection *connection = owner;
    int64_t time = now();
    int in_window = time >= window_begins && time < window_ends;
    if (!connection->length) connection->first = time;
    connection->length += length;
    for (size_t i = 0; i < length && connection->kept < sizeof connection->beginning - 1; i++)
        connection->beginning[connection->kept++] = data[i];
    for (const char *at = data, *stop = data + length; at < stop; at++) {
        if (connection->marked) {
            connection->wrong |= *at != 'a' + connection->marks % 26;
            connection->marks++;
            connection->marked = 0;
            marks_seen += in_window;
        } else if (*at == '@') {
            connection->marked = 1;
        }
        if (connection->done < 6) connection->done = *at == done[connection->done] ? connection->done + 1 : *at == '[';
    }
}

static void answered(struct connection *connection) {
    int64_t time = now();
    int closes = connection->message.closes || connection->message.state == UNTIL_CLOSE;
    const char *what = NULL;
    if (connection->message.status != 200) what = "not answered with 200";
    else if (connection->marks != wanted_marks || connection->wrong) what = "marks are missing or out of order";
    else if (wanted_length && connection->length != wanted_length) what = "another length";
    else if (wanted_done && connection->done < 6) what = "no [DONE]";
    if (what) went_wrong(connection, what);
    else all_answers++;
    if (!what && time >= window_begins && time < window_ends) {
        answers++;
        note(&first_times, connection->first - connection->sent);
        note(&whole_times, time - connection->sent);
    }
    connection->fresh = 0;
    connection->served = 1;
    if (closes) hang_up(connection);
    ask(connection);
}

static void hear(struct connection *connection) {
    static char buffer[262144];
    ssize_t got = recv(connection->socket, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (connection->message.state == UNTIL_CLOSE) {
            answered(connection);
            return;
        }
        /* A server may close an idle connection at the moment that it is used again. */
        if (!connection->fresh && connection->message.state == HEAD && !connection->message.kept) reconnects++;
        else went_wrong(connection, "the connection ended early");
        hang_up(connection);
        ask(connection);
        return;
    }
    if (message_feed(&connection->message, buffer, (size_t)got, check, connection) != got) {
        went_wrong(connection, "no HTTP, or more than was asked for");
        hang_up(connection);
        ask(connection);
        return;
    }
    if (connection->message.state == DONE) answered(connection);
}

static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *content = malloc(1 << 20);
    if (!file) return perror(path), exit(2), NULL;
    *length = fread(content, 1, 1 << 20, file);
    fclose(file);
    return content;
}

int main(int count, char **words) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},   {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"warmup", 1, 0, 'w'}, {"body", 1, 0, 'b'},
        {"header", 1, 0, 'h'}, {"path", 1, 0, 'u'},        {"marks", 1, 0, 'm'},   {"length", 1, 0, 'l'}, {"done", 0, 0, 'd'},
        {"ramp", 1, 0, 'r'},   {"grace", 1, 0, 'g'},       {"once", 0, 0, 'o'},        {0, 0, 0, 0},
    };
    const char *path = "/v1/chat/completions", *file = NULL;
    char headers[4096] = "";
    double seconds = 5, warmup = 0.5, ramp = 0, grace = 3;
    size_t connections = 64, body_length;
    int option;
    wanted_marks = 1;
    while ((option = getopt_long(count, words, "", options, NULL)) >= 0) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'c') connections = strtoul(optarg, NULL, 10);
        else if (option == 's') seconds = atof(optarg);
        else if (option == 'w') warmup = atof(optarg);
        else if (option == 'b') file = optarg;
        else if (option == 'u') path = optarg;
        else if (option == 'm') wanted_marks = atoi(optarg);
        else if (option == 'l') wanted_length = strtoul(optarg, NULL, 10);
        else if (option == 'd') wanted_done = 1;
        else if (option == 'r') ramp = atof(optarg);
        else if (option == 'g') grace = atof(optarg);
        else if (option == 'o') only_once = 1;
        else if (option != 'h') return 2;
        else if (strlen(headers) + strlen(optarg) + 3 < sizeof headers) strcat(strcat(headers, optarg), "\r\n");
    }
    if (!port || !file || !connections) return fprintf(stderr, "usage: %s --port PORT --body FILE …\n", words[0]), 2;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    char *body = read_file(file, &body_length);
    request = malloc(body_length + sizeof headers + 1024);
    request_length = (size_t)sprintf(request,
                                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nAccept: */*\r\n"
                                     "%sContent-Length: %zu\r\n\r\n",
                                     path, port, headers, body_length);
    memcpy(request + request_length, body, body_length);
    request_length += body_length;

    struct connection *all = calloc(connections, sizeof *all);
    struct epoll_event ready[READY];
    size_t begun = 0;
    int64_t start = now(), last;
    poller = epoll_create1(EPOLL_CLOEXEC);
    window_begins = start + (int64_t)(warmup * 1e9);
    window_ends = window_begins + (int64_t)(seconds * 1e9);
    last = window_ends + (int64_t)(grace * 1e9);
    under_way = connections;
    for (size_t i = 0; i < connections; i++) {
        all[i].socket = -1;
        all[i].start = start + (int64_t)(ramp * 1e6 * (double)i / (double)connections);
    }
    while (under_way && now() < last) {
        while (begun < connections && all[begun].start <= now()) ask(&all[begun++]);
        int wait = begun < connections ? 1 : 100;
        int found = epoll_wait(poller, ready, READY, wait);
        for (int i = 0; i < found; i++) {
            struct connection *connection = ready[i].data.ptr;
            if (connection->phase == CONNECTING) {
                int problem = 0;
                socklen_t size = sizeof problem;
                getsockopt(connection->socket, SOL_SOCKET, SO_ERROR, &problem, &size);
                if (problem) {
                    went_wrong(connection, strerror(problem));
                    hang_up(connection);
                    ask(connection);
                    continue;
                }
                connection->phase = SENDING;
                connection->sent = now();
                send_on(connection);
            } else if (connection->phase == SENDING) {
                send_on(connection);
            } else if (connection->phase == READING) {
                hear(connection);
            }
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"answers\": %lu, \"answers_in_all\": %lu, \"seconds\": %.3f, \"per_second\": %.1f, \"marks_per_second\": %.1f, \"errors\": %lu, \"unfinished\": %zu, "
           "\"reconnects\": %lu",
           (unsigned long)answers, (unsigned long)all_answers, seconds, (double)answers / seconds, (double)marks_seen / seconds, (unsigned long)errors, under_way,
           (unsigned long)reconnects);
    print_times("first", &first_times);
    print_times("whole", &whole_times);
    printf(", \"generator_cpu_seconds\": %.3f, \"first_error\": \"%s\"}\n",
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
           first_error);
    return 0;
}
