/* An open-loop publisher: event k is due at k / RATE, whatever the server does, and goes to the sessions in turn.
 *
 *     publish PORTS CONNECTIONS FRAMING TEMPLATES PUBLISHED SESSIONS BATCH OUTSTANDING
 *
 * FRAMING: resp (each argument gets its length, each command its count), http (arguments as they are) or lines (likewise, after
 * a first line `PUB`, and nothing is answered).
 * TEMPLATES: for each session, ended by 0x1d, the command of an event, whose arguments are ended by 0x1f. A batch is BATCH of them;
 * with a second command, behind 0x1e, it is a transaction in RESP whose last event goes by that one. In arguments {token} is filled
 * in (@<ns, 19 digits>.<seq, 9 digits>@), {short} (@<seq, 4 digits>), and {next}, the event's entry in a log that began with one.
 * PORTS: separated by commas; the connections go to them in turn, and the sessions to the connections, unless a template begins with
 * the number of its connection, ended by 0x1c.
 * In a batch each event bears the time at which it was due by itself, so that gathering counts as latency.
 * PUBLISHED: a file of one uint32 per session, the newest seq written to the socket. Replies are counted by their first line:
 * RESP replies by nesting, HTTP answers by their status. Without a rate at most OUTSTANDING commands wait for their reply (0: any number).
 *
 * Commands on stdin: `run RATE EVENTS FROM TO` (sessions [FROM, TO); RATE 0: as fast as OUTSTANDING allows) prints, when all
 * are sent and answered or 30 s after the last, {"sent","replies","errors","seconds","late_ms"}: `late_ms` is how far behind its own schedule it ever was.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TICK_NS = 500 * 1000, BUFFER = 256 * 1024, MAX_CONNECTIONS = 64, PATIENCE_MS = 30000 };

struct link {
    int fd;
    char *out;
    size_t size, room, sent;
    int depth;            /* replies inside arrays that are still to come */
    size_t skip;          /* bytes left of a bulk reply or an HTTP body */
    char line[256];
    int line_size;
    long length;          /* of the HTTP body that follows the head */
    int in_head;
};

struct template { char *each, *last, *end; int link; };

static struct link links[MAX_CONNECTIONS];
static struct template *templates;
static volatile uint32_t *published;
static int connections, sessions, batch, resp, silent;
static uint64_t spacing; /* ns between two events of one session */
static long outstanding;
static uint64_t commands, replies, errors;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

static void put(struct link *l, const char *data, size_t size) {
    if (l->size + size > l->room) {
        l->room = (l->size + size) * 2;
        l->out = realloc(l->out, l->room);
    }
    memcpy(l->out + l->size, data, size);
    l->size += size;
}

/* One argument, filled in. Returns its end. */
static char *argument(struct link *l, char *p, uint32_t seq, uint64_t at) {
    char text[8192], prefix[32];
    size_t n = 0;
    while (*p != 0x1f) {
        if (n > sizeof text - 64) die("argument too long");
        if (*p == '{' && !strncmp(p, "{next}", 6)) n += (size_t)sprintf(text + n, "%u", seq + 1), p += 6;
        else if (*p == '{' && !strncmp(p, "{short}", 7)) n += (size_t)sprintf(text + n, "@%04u", seq), p += 7;
        else if (*p == '{' && !strncmp(p, "{token}", 7)) n += (size_t)sprintf(text + n, "@%019llu.%09u@", (unsigned long long)at, seq), p += 7;
        else text[n++] = *p++;
    }
    if (resp) put(l, prefix, (size_t)sprintf(prefix, "$%zu\r\n", n));
    put(l, text, n);
    if (resp) put(l, "\r\n", 2);
    return p + 1;
}

static int arguments_in(const char *p, const char *end) {
    int n = 0;
    for (; p < end; p++) n += *p == 0x1f;
    return n;
}

static void command(struct link *l, char *p, const char *end, uint32_t seq, uint64_t at) {
    char prefix[32];
    if (resp) put(l, prefix, (size_t)sprintf(prefix, "*%d\r\n", arguments_in(p, end)));
    while (p < end) p = argument(l, p, seq, at);
    commands++;
}

static void word(struct link *l, const char *name) {
    char text[32];
    put(l, text, (size_t)sprintf(text, "*1\r\n$%zu\r\n%s\r\n", strlen(name), name));
    commands++;
}

static void publish(int session, int size) {
    struct template *t = &templates[session];
    struct link *l = &links[t->link];
    uint32_t after = published[session];
    uint64_t now = now_ns();
    int whole = t->last < t->end && size > 1;
    if (whole) word(l, "MULTI");
    for (int i = 1; i <= size; i++) {
        int last = whole && i == size;
        command(l, last ? t->last : t->each, last ? t->end : t->last, after + (uint32_t)i, now - (uint64_t)(size - i) * spacing);
    }
    if (whole) word(l, "EXEC");
    published[session] = after + (uint32_t)size;
}

static void whole(struct link *l) {
    if (!l->depth) replies++;
    else if (!--l->depth) replies++;
}

static void resp_line(struct link *l) {
    long n = strtol(l->line + 1, NULL, 10);
    switch (l->line[0]) {
        case '*': if (n > 0) { if (l->depth) die("nested arrays"); l->depth = (int)n; } else whole(l); break;
        case '$': if (n >= 0) l->skip = (size_t)n + 2; else whole(l); break;
        case '-':
            if (!errors++) fprintf(stderr, "publish: %.200s\n", l->line);
            whole(l);
            break;
        default: whole(l);
    }
}

static void http_line(struct link *l) {
    if (!l->in_head) {
        if (strncmp(l->line, "HTTP/1.1 2", 10) && !errors++) fprintf(stderr, "publish: %.200s\n", l->line);
        l->in_head = 1, l->length = 0;
    } else if (l->line_size == 0) {
        l->in_head = 0;
        if (l->length) l->skip = (size_t)l->length;
        else replies++;
    } else if (!strncasecmp(l->line, "content-length:", 15)) l->length = strtol(l->line + 15, NULL, 10);
}

static void received(struct link *l, const char *p, size_t size) {
    const char *end = p + size;
    while (p < end) {
        if (l->skip) {
            size_t take = (size_t)(end - p) < l->skip ? (size_t)(end - p) : l->skip;
            l->skip -= take, p += take;
            if (!l->skip) { if (resp) whole(l); else replies++; }
        } else if (*p == '\n') {
            if (l->line_size && l->line[l->line_size - 1] == '\r') l->line_size--;
            l->line[l->line_size] = 0;
            if (resp) resp_line(l); else http_line(l);
            l->line_size = 0, p++;
        } else {
            if (l->line_size < 255) l->line[l->line_size++] = *p;
            p++;
        }
    }
}

static void flush(struct link *l) {
    while (l->sent < l->size) {
        ssize_t n = send(l->fd, l->out + l->sent, l->size - l->sent, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EAGAIN) return; die("send"); }
        l->sent += (size_t)n;
    }
    l->sent = l->size = 0;
}

static void exchange(uint64_t until) {
    static char buffer[BUFFER];
    struct pollfd fds[MAX_CONNECTIONS];
    for (int i = 0; i < connections; i++) {
        flush(&links[i]);
        fds[i] = (struct pollfd){.fd = links[i].fd, .events = (short)(POLLIN | (links[i].size ? POLLOUT : 0))};
    }
    uint64_t now = now_ns(), wait = until > now ? until - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    if (ppoll(fds, (nfds_t)connections, &timeout, NULL) <= 0) return;
    for (int i = 0; i < connections; i++) {
        if (!(fds[i].revents & (POLLIN | POLLHUP | POLLERR))) continue;
        ssize_t n = recv(links[i].fd, buffer, BUFFER, 0);
        if (n > 0) received(&links[i], buffer, (size_t)n);
        else if (n == 0 || errno != EAGAIN) die("connection closed");
    }
}

static int unsent(void) {
    for (int i = 0; i < connections; i++) if (links[i].size) return 1;
    return 0;
}

static void run(double rate, uint64_t total, int from, int to) {
    uint64_t start = now_ns(), sent = 0;
    double late = 0;
    commands = replies = errors = 0;
    spacing = rate > 0 ? (uint64_t)(1e9 * (to - from) / rate) : 0;
    while (sent < total) {
        uint64_t now = now_ns(), next = now + TICK_NS;
        uint64_t due = rate > 0 ? (uint64_t)((double)(now - start) * rate / 1e9) + (uint64_t)batch : total;
        if (due > total) due = total;
        while (sent < due && (rate > 0 || !outstanding || (long)(commands - replies) < outstanding)) {
            uint64_t size = total - sent < (uint64_t)batch ? total - sent : (uint64_t)batch;
            if (sent + size > due) break;
            publish(from + (int)(sent / (uint64_t)batch % (uint64_t)(to - from)), (int)size);
            sent += size;
        }
        double behind = rate > 0 ? (double)(now - start) - (double)sent / rate * 1e9 : 0;
        if (behind > late) late = behind;
        for (int i = 0; i < connections; i++) flush(&links[i]);
        do exchange(next); while (now_ns() < next && (rate > 0 || (outstanding && (long)(commands - replies) >= outstanding)));
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    uint64_t deadline = now_ns() + PATIENCE_MS * 1000000ull;
    while ((unsent() || (!silent && replies < commands)) && now_ns() < deadline) exchange(now_ns() + 1000000);
    printf("{\"sent\":%llu,\"commands\":%llu,\"replies\":%llu,\"errors\":%llu,\"seconds\":%.6f,\"answered_seconds\":%.6f,\"late_ms\":%.3f}\n",
           (unsigned long long)sent, (unsigned long long)commands, (unsigned long long)replies, (unsigned long long)errors, seconds,
           (double)(now_ns() - start) / 1e9, late / 1e6);
    fflush(stdout);
}

static void join(int index, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (silent && send(fd, "PUB\n", 4, 0) != 4) die("send");
    links[index].fd = fd;
}

static void read_templates(const char *name) {
    struct stat about;
    int file = open(name, O_RDONLY);
    if (file < 0 || fstat(file, &about)) die(name);
    char *p = mmap(NULL, (size_t)about.st_size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0), *end = p + about.st_size;
    if (p == MAP_FAILED) die("mmap");
    templates = calloc((size_t)sessions, sizeof *templates);
    for (int i = 0; i < sessions; i++) {
        char *stop = memchr(p, 0x1d, (size_t)(end - p));
        if (!stop) { fprintf(stderr, "publish: %d templates for %d sessions\n", i, sessions); exit(2); }
        char *last = memchr(p, 0x1e, (size_t)(stop - p));
        if (last) memmove(last, last + 1, (size_t)(stop - last - 1));
        char *numbered = memchr(p, 0x1c, (size_t)(stop - p));
        int link = (numbered ? atoi(p) : i) % connections;
        if (numbered) p = numbered + 1;
        templates[i] = (struct template){p, last ? last : stop, last ? stop - 1 : stop, link};
        p = stop + 1;
    }
}

int main(int argc, char **argv) {
    if (argc != 9) { fprintf(stderr, "usage: publish PORTS CONNECTIONS FRAMING TEMPLATES PUBLISHED SESSIONS BATCH OUTSTANDING\n"); return 2; }
    connections = atoi(argv[2]), sessions = atoi(argv[6]), batch = atoi(argv[7]), outstanding = atol(argv[8]);
    if (connections < 1 || connections > MAX_CONNECTIONS || batch < 1) return 2;
    resp = !strcmp(argv[3], "resp"), silent = !strcmp(argv[3], "lines");
    prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
    read_templates(argv[4]);
    int file = open(argv[5], O_RDWR);
    if (file < 0) die(argv[5]);
    published = mmap(NULL, sizeof *published * (size_t)sessions, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (published == MAP_FAILED) die("mmap");
    for (int i = 0, at = 0, size; i < connections; i++) {
        int port;
        if (sscanf(argv[1] + at, "%d%n", &port, &size) != 1) return 2;
        join(i, port);
        at = argv[1][at + size] == ',' ? at + size + 1 : 0;
    }
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        double rate;
        unsigned long long total;
        int from, to;
        if (sscanf(line, "run %lf %llu %d %d", &rate, &total, &from, &to) == 4 && from < to && to <= sessions) run(rate, total, from, to);
    }
    return 0;
}
