/* An HTTP/1.1 message read as it arrives: its head, then a body by length, by chunks, or until the connection ends. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum state { HEAD, SIZED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, DONE };

struct message {
    enum state state;
    int status; /* of an answer; 0 for a request */
    int closes; /* the sender ends the connection after it */
    size_t left;
    size_t kept; /* bytes of an unfinished line, or of an unfinished head */
    char line[8192];
};

typedef void (*body_reader)(void *owner, const char *data, size_t length);

static inline void message_begin(struct message *message) {
    message->state = HEAD;
    message->status = 0;
    message->closes = 0;
    message->left = 0;
    message->kept = 0;
}

/* Read a whole head of this many bytes, the empty line included. Returns 0, or -1 for what is no HTTP. */
static inline int message_head(struct message *message, const char *head, size_t length) {
    const char *end = head + length;
    const char *line = memchr(head, '\n', length);
    int chunked = 0, sized = 0;
    if (!line) return -1;
    if (length > 12 && memcmp(head, "HTTP/1.", 7) == 0) message->status = atoi(head + 9);
    for (line++; line < end && *line != '\r'; line++) {
        if (strncasecmp(line, "content-length:", 15) == 0) {
            message->left = strtoull(line + 15, NULL, 10);
            sized = 1;
        } else if (strncasecmp(line, "transfer-encoding:", 18) == 0) {
            chunked = 1;
        } else if (strncasecmp(line, "connection:", 11) == 0) {
            const char *value = line + 11;
            while (*value == ' ') value++;
            message->closes = strncasecmp(value, "close", 5) == 0;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        if (!line) return -1;
    }
    if (message->status >= 100 && message->status < 200) {
        message_begin(message);
    } else if (chunked) {
        message->state = CHUNK_SIZE;
    } else if (sized) {
        message->state = message->left ? SIZED : DONE;
    } else {
        message->state = message->status && message->status != 204 && message->status != 304 ? UNTIL_CLOSE : DONE;
    }
    message->kept = 0;
    return 0;
}

/* Keep bytes up to the end of a line. Returns how many were taken, or -1 where the line is too long; *whole says whether it ended. */
static inline long message_line(struct message *message, const char *data, size_t length, int *whole) {
    const char *end = memchr(data, '\n', length);
    size_t taken = end ? (size_t)(end - data) + 1 : length;
    if (message->kept + taken >= sizeof message->line) return -1;
    memcpy(message->line + message->kept, data, taken);
    message->kept += taken;
    *whole = end != NULL;
    return (long)taken;
}

/* Read on; the body's bytes go to `read`. Returns how many bytes were of this message, or -1 for what is no HTTP. */
static inline long message_feed(struct message *message, const char *data, size_t length, body_reader read, void *owner) {
    size_t at = 0;
    while (at < length && message->state != DONE) {
        const char *here = data + at;
        size_t rest = length - at, part;
        int whole = 0;
        long taken;
        switch (message->state) {
        case HEAD: {
            const char *end = message->kept ? NULL : memmem(here, rest, "\r\n\r\n", 4);
            if (end) {
                part = (size_t)(end - here) + 4;
                if (message_head(message, here, part) < 0) return -1;
                at += part;
                break;
            }
            /* A head in pieces is rare: it is put together line by line. */
            if ((taken = message_line(message, here, rest, &whole)) < 0) return -1;
            at += (size_t)taken;
            if (whole && message->kept >= 4 && memcmp(message->line + message->kept - 4, "\r\n\r\n", 4) == 0) {
                if (message_head(message, message->line, message->kept) < 0) return -1;
            }
            break;
        }
        case SIZED:
        case CHUNK_DATA:
            part = rest < message->left ? rest : message->left;
            read(owner, here, part);
            message->left -= part;
            at += part;
            if (!message->left) message->state = message->state == SIZED ? DONE : CHUNK_END;
            break;
        case CHUNK_SIZE:
            if ((taken = message_line(message, here, rest, &whole)) < 0) return -1;
            at += (size_t)taken;
            if (!whole) break;
            message->line[message->kept] = 0;
            message->kept = 0;
            message->left = strtoull(message->line, NULL, 16);
            message->state = message->left ? CHUNK_DATA : TRAILER;
            break;
        case CHUNK_END:
        case TRAILER:
            if ((taken = message_line(message, here, rest, &whole)) < 0) return -1;
            at += (size_t)taken;
            if (!whole) break;
            if (message->state == CHUNK_END) message->state = CHUNK_SIZE;
            else if (message->kept <= 2) message->state = DONE;
            message->kept = 0;
            break;
        case UNTIL_CLOSE:
            read(owner, here, rest);
            at = length;
            break;
        case DONE:
            break;
        }
    }
    return (long)at;
}

#endif
