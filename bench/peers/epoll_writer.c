/* The limit: an SSE server in C without Redis, history or checks. One write for each event and viewer, or with `coalesce`
 * one for all that was published together. Viewers ask GET /<session>; a publisher sends PUB first, then lines
 * `<session> <payload>`.
 *
 *     epoll_writer PORT SESSIONS each|coalesce
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILES = 65536, INPUT = 256 * 1024 };

struct session {
    int *viewers, count, room, dirty;
    uint32_t seq;
    char *out;
    size_t size, out_room;
};

static struct session *sessions;
static int session_count, coalesce, epoll, session_of[FILES]; /* -1: not known yet, -2: a publisher */
static char input[INPUT + 1], head[FILES][256];
static int head_size[FILES], *dirty, dirty_count;
static size_t held;

static void add(struct session *s, int fd) {
    if (s->count == s->room) s->viewers = realloc(s->viewers, sizeof(int) * (size_t)(s->room = s->room * 2 + 4));
    s->viewers[s->count++] = fd;
}

static void gone(int fd) {
    int at = session_of[fd];
    if (at >= 0) {
        struct session *s = &sessions[at];
        for (int i = 0; i < s->count; i++) if (s->viewers[i] == fd) { s->viewers[i] = s->viewers[--s->count]; break; }
    }
    close(fd);
}

static void write_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return;
        if (n > 0) data += n, size -= (size_t)n;
    }
}

static void flush(struct session *s) {
    for (int i = 0; i < s->count; i++) write_all(s->viewers[i], s->out, s->size);
    s->size = 0;
    s->dirty = 0;
}

static void event(int at, const char *payload, size_t size) {
    struct session *s = &sessions[at];
    if (s->size + size + 64 > s->out_room) s->out = realloc(s->out, s->out_room = (s->size + size + 64) * 2);
    s->size += (size_t)sprintf(s->out + s->size, "id: %u\ndata: ", ++s->seq);
    memcpy(s->out + s->size, payload, size);
    s->size += size;
    memcpy(s->out + s->size, "\n\n", 2);
    s->size += 2;
    if (!coalesce) flush(s);
    else if (!s->dirty) s->dirty = 1, dirty[dirty_count++] = at;
}

static void published(int fd) {
    ssize_t n = recv(fd, input + held, INPUT - held, 0);
    if (n <= 0) { if (n == 0) gone(fd); return; }
    held += (size_t)n;
    char *p = input, *end = input + held, *line_end;
    while ((line_end = memchr(p, '\n', (size_t)(end - p)))) {
        char *payload;
        int at = (int)strtol(p, &payload, 10);
        if (at >= 0 && at < session_count) event(at, payload + 1, (size_t)(line_end - payload - 1));
        p = line_end + 1;
    }
    held = (size_t)(end - p);
    memmove(input, p, held);
    for (int i = 0; i < dirty_count; i++) flush(&sessions[dirty[i]]);
    dirty_count = 0;
}

static void introduced(int fd) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1000\n\n";
    char first[4];
    if (recv(fd, first, 4, MSG_PEEK) == 4 && !memcmp(first, "PUB\n", 4)) {
        session_of[fd] = -2;
        recv(fd, first, 4, 0);
        return;
    }
    ssize_t n = recv(fd, head[fd] + head_size[fd], (size_t)(255 - head_size[fd]), 0);
    if (n <= 0) { gone(fd); return; }
    head_size[fd] += (int)n;
    head[fd][head_size[fd]] = 0;
    if (!strstr(head[fd], "\r\n\r\n")) return;
    session_of[fd] = atoi(head[fd] + 5) % session_count;
    add(&sessions[session_of[fd]], fd);
    write_all(fd, answer, sizeof answer - 1);
}

static void heard(int fd) {
    char ignored[512];
    if (session_of[fd] == -2) published(fd);
    else if (session_of[fd] == -1) introduced(fd);
    else if (recv(fd, ignored, sizeof ignored, 0) <= 0) gone(fd);
}

static void welcome(int listener) {
    for (int fd, one = 1; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= FILES) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        session_of[fd] = -1, head_size[fd] = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    session_count = atoi(argv[2]), coalesce = !strcmp(argv[3], "coalesce");
    sessions = calloc((size_t)session_count, sizeof *sessions);
    dirty = calloc((size_t)session_count, sizeof *dirty);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) { perror("listen"); return 1; }
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, found[512];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, found, 512, -1);
        for (int i = 0; i < n; i++) {
            if (found[i].data.fd == listener) welcome(listener);
            else heard(found[i].data.fd);
        }
    }
}
