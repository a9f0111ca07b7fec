/* Many SSE or WebSocket viewers in one thread: opens, drops and resumes them, checks that no event is lost or doubled, and measures
 * the time from publication to arrival.
 *
 *     viewers PORT[,PORT...] COUNT SESSIONS PUBLISHED PATH
 *
 * Viewer i reads session i % SESSIONS at the ports in turn. PATH may hold {session} and {bytes} (body bytes of whole frames so far).
 * A PATH that begins with "ws:" is read over WebSocket: messages are JSON, and begin with {"id":"…" where they have an id.
 * PUBLISHED is a file of one uint32 per session, the newest sequence number, which the publisher keeps.
 * A PATH that begins with "post:" is requested by POST; behind a space it has the body, and the session is the Idempotency-Key.
 * Payloads carry tokens @<ns, 19 digits>.<seq, 9 digits>@: the time on CLOCK_MONOTONIC, and a number from 1 per session; or
 * @<seq, up to 9 digits>, which says no time.
 *
 * Commands, one a line on stdin; ranges are half open. Those with an answer print one line of JSON.
 *     open FROM TO GOAL PENDING   connect, at most PENDING at a time (0: all at once), expecting seq 1 first; GOAL: a seq, 0: none
 *     join FROM TO PENDING        the same, expecting what is published from now on
 *     drop FROM TO                close
 *     resume FROM TO              connect again with Last-Event-ID; the goal is all that is published by now
 *     opened FROM TO MS           wait until all have an answer's head           -> {"count","missing","seconds"}
 *     reached FROM TO MS          wait until all reached their goal              -> {"count","missing","slowest_ms",...}
 *     measure FROM TO             from now on, count the events of these viewers
 *     report                      -> {"events","bytes","p50_us","p99_us",...} since measure
 *     settle FROM TO MS           wait until all have all that is published      -> {"behind"}
 *     verdict                     -> {"lost","doubled","disordered","closed","refused"} since the start
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TOKEN = 29, HEAD = 4096, BUFFER = 256 * 1024, SUB = 64, OCTAVES = 40 };
enum phase { CLOSED, CONNECTING, HEADERS, BODY };
enum line { START, NAME, ID, OTHER, MARK };
enum chunk { SIZE, EXTENSION, DATA, AFTER };
enum { TEXT_MESSAGE = 0x81 };

struct viewer {
    int fd;
    enum phase phase;
    int session, waiting;
    char *head;             /* the answer's head, until it is complete */
    int head_size;
    int chunked;
    enum chunk chunk;
    uint64_t left;          /* bytes left of the chunk, or of the WebSocket frame */
    int opcode, length_left; /* first byte of the frame; bytes left of its length */
    enum line line;
    int matched;            /* characters of "id: " seen, or of the token */
    char token[TOKEN + 1];
    char id[96], pending[96];
    int pending_size;
    uint32_t seq, kept_seq; /* the newest seen; as it was at the last whole frame */
    uint64_t seen, kept_seen; /* bit n: seq - n was seen */
    uint64_t bytes, kept_bytes;
    uint32_t goal;
    uint64_t began, reached;
};

static struct viewer *viewers;
static int count, sessions, epoll, ports[16], port_count, waiting_total, queue_from, queue_to, queue_pending;
static volatile uint32_t *published;
static const char *path, *post, *name = "id: ";
static int websocket, name_size = 4;
static uint64_t lost, doubled, disordered, closed_by_server, refused;
static int measure_from, measure_to;
static uint64_t events, bytes, histogram[OCTAVES * SUB], measured_since, longest;
static char buffer[BUFFER];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

/* The histogram: 64 steps an octave, in units of 1 us. */
static int slot_of(uint64_t us) {
    if (us < SUB) return (int)us;
    int octave = 63 - __builtin_clzll(us) - 6;
    int slot = (octave + 1) * SUB + (int)((us >> octave) - SUB);
    return slot < OCTAVES * SUB ? slot : OCTAVES * SUB - 1;
}

static double us_of(int slot) {
    if (slot < SUB) return slot;
    int octave = slot / SUB - 1;
    return ((double)(slot % SUB + SUB) + 0.5) * (double)(1ull << octave);
}

static double quantile(double q) {
    uint64_t total = 0, below = 0;
    for (int i = 0; i < OCTAVES * SUB; i++) total += histogram[i];
    for (int i = 0; i < OCTAVES * SUB; i++) {
        below += histogram[i];
        if (total && (double)below >= q * (double)total) return us_of(i);
    }
    return 0;
}

/* One event arrived: keep the ledger. */
static void note(struct viewer *v, uint32_t seq) {
    if (seq > v->seq) {
        uint32_t step = seq - v->seq;
        lost += step - 1;
        v->seen = (step < 64 ? v->seen << step : 0) | 1;
        v->seq = seq;
    } else if (v->seq - seq < 64 && !(v->seen >> (v->seq - seq) & 1)) {
        v->seen |= 1ull << (v->seq - seq);
        lost--;
        disordered++;
    } else {
        doubled++;
    }
}

static void token(struct viewer *v, int index, uint64_t now, int timed) {
    uint64_t at = timed ? strtoull(v->token, NULL, 10) : 0;
    note(v, (uint32_t)strtoul(v->token + (timed ? 20 : 0), NULL, 10));
    if (v->goal && !v->reached && v->seq >= v->goal) v->reached = now;
    if (index < measure_from || index >= measure_to || at < measured_since) return;
    uint64_t us = now > at ? (now - at) / 1000 : 0;
    events++;
    histogram[slot_of(us)]++;
    if (us > longest) longest = us;
}

/* A blank line: the frame is whole, its id counts, a resume begins here. */
static void dispatch(struct viewer *v, uint64_t consumed) {
    if (v->pending_size) {
        memcpy(v->id, v->pending, (size_t)v->pending_size + 1);
        v->pending_size = 0;
    }
    v->kept_seq = v->seq;
    v->kept_seen = v->seen;
    v->kept_bytes = consumed;
}

static void body(struct viewer *v, int index, const char *p, size_t size, uint64_t now) {
    const char *end = p + size, *begin = p;
    uint64_t before = v->bytes;
    while (p < end) switch (v->line) {
        case START:
            if (*p == '\n') dispatch(v, before + (uint64_t)(p - begin) + 1), p++;
            else if (*p == '\r') p++;
            else v->line = NAME, v->matched = 0;
            break;
        case NAME:
            if (*p != name[v->matched]) { v->line = OTHER; break; }
            p++;
            if (++v->matched == name_size) v->line = ID, v->pending_size = 0;
            break;
        case ID:
            if (*p == (websocket ? '"' : '\n')) v->pending[v->pending_size] = 0, v->line = websocket ? OTHER : START;
            else if (*p != '\r' && v->pending_size < 95) v->pending[v->pending_size++] = *p;
            p++;
            break;
        case OTHER: {
            const char *mark = memchr(p, '@', (size_t)(end - p)); /* first: a line of many tokens is looked through once */
            const char *line_end = memchr(p, '\n', (size_t)((mark ? mark : end) - p));
            if (mark && !line_end) v->line = MARK, v->matched = 0, p = mark + 1;
            else if (line_end) v->line = START, p = line_end + 1;
            else p = end;
            break;
        }
        case MARK: /* a token whole in the buffer, else character by character */
            if (v->matched == TOKEN) {
                if (*p == '@') v->token[TOKEN] = 0, token(v, index, now, 1), p++;
                v->line = OTHER;
            } else if (v->matched == 0 && end - p >= TOKEN && p[19] == '.') {
                memcpy(v->token, p, TOKEN);
                v->matched = TOKEN, p += TOKEN;
            } else if (isdigit((unsigned char)*p) || *p == '.') {
                v->token[v->matched++] = *p++;
            } else {
                if (v->matched && v->matched < 10) v->token[v->matched] = 0, token(v, index, now, 0);
                v->line = OTHER;
            }
            break;
    }
    v->bytes = before + size;
    if (index >= measure_from && index < measure_to) bytes += size;
}

static void unchunk(struct viewer *v, int index, const char *p, size_t size, uint64_t now) {
    const char *end = p + size;
    while (p < end) switch (v->chunk) {
        case SIZE:
            if (*p == '\r') ;
            else if (*p == '\n') v->chunk = v->left ? DATA : AFTER;
            else if (*p == ';') v->chunk = EXTENSION;
            else v->left = v->left * 16 + (uint64_t)(isdigit((unsigned char)*p) ? *p - '0' : (*p | 32) - 'a' + 10);
            p++;
            break;
        case EXTENSION:
            if (*p++ == '\n') v->chunk = v->left ? DATA : AFTER;
            break;
        case DATA: {
            size_t take = (size_t)(end - p) < v->left ? (size_t)(end - p) : (size_t)v->left;
            body(v, index, p, take, now);
            p += take;
            v->left -= take;
            if (!v->left) v->chunk = AFTER;
            break;
        }
        case AFTER:
            if (*p++ == '\n') v->chunk = SIZE, v->left = 0;
            break;
    }
}

/* The frames of a WebSocket server, which are whole messages and not masked. */
static void unframe(struct viewer *v, int index, const char *p, size_t size, uint64_t now) {
    const char *end = p + size;
    while (p < end || (v->chunk == DATA && !v->left)) switch (v->chunk) {
        case SIZE:
            v->opcode = (unsigned char)*p++;
            v->length_left = -1, v->chunk = EXTENSION;
            break;
        case EXTENSION: {
            int byte = (unsigned char)*p++;
            if (v->length_left < 0) v->length_left = byte == 126 ? 2 : byte == 127 ? 8 : 0, v->left = byte < 126 ? (uint64_t)byte : 0;
            else v->left = v->left << 8 | (uint64_t)byte, v->length_left--;
            if (!v->length_left) v->chunk = DATA;
            break;
        }
        default: {
            size_t take = (size_t)(end - p) < v->left ? (size_t)(end - p) : (size_t)v->left;
            if (v->opcode == TEXT_MESSAGE) body(v, index, p, take, now);
            p += take;
            v->left -= take;
            if (v->left) break;
            if (v->opcode == TEXT_MESSAGE) dispatch(v, v->bytes), v->line = START;
            v->chunk = SIZE;
        }
    }
}

static void answered(struct viewer *v) {
    if (v->waiting) v->waiting = 0, waiting_total--;
}

static void shut(struct viewer *v) {
    if (v->phase == CLOSED) return;
    answered(v);
    close(v->fd);
    free(v->head);
    v->head = NULL;
    v->phase = CLOSED;
}

static void take(struct viewer *v, int index, const char *p, size_t size, uint64_t now) {
    if (v->phase == BODY) {
        if (websocket) unframe(v, index, p, size, now);
        else if (v->chunked) unchunk(v, index, p, size, now);
        else body(v, index, p, size, now);
        return;
    }
    size_t part = size < (size_t)(HEAD - 1 - v->head_size) ? size : (size_t)(HEAD - 1 - v->head_size);
    int before = v->head_size;
    memcpy(v->head + before, p, part);
    v->head_size += (int)part;
    v->head[v->head_size] = 0;
    char *blank = strstr(v->head, "\r\n\r\n");
    if (!blank) return;
    int used = (int)(blank - v->head) + 4 - before;
    *blank = 0;
    if (strncmp(v->head + 9, websocket ? "101" : "200", 3)) {
        if (!refused) fprintf(stderr, "viewers: refused: %.80s\n", v->head);
        refused++;
        shut(v);
        return;
    }
    v->chunked = strcasestr(v->head, "transfer-encoding: chunked") != NULL;
    free(v->head);
    v->head = NULL;
    v->phase = BODY;
    v->chunk = SIZE, v->left = 0, v->line = START;
    answered(v);
    take(v, index, p + used, size - (size_t)used, now);
}

static void request(struct viewer *v) {
    char text[1024], target[512], posted[512] = "";
    size_t n = 0;
    for (const char *p = path; *p && n < sizeof target - 24;) {
        if (!strncmp(p, "{session}", 9)) n += (size_t)sprintf(target + n, "%d", v->session), p += 9;
        else if (!strncmp(p, "{bytes}", 7)) n += (size_t)sprintf(target + n, "%llu", (unsigned long long)v->bytes), p += 7;
        else target[n++] = *p++;
    }
    target[n] = 0;
    const char *kind = websocket ? "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==" : "Accept: text/event-stream";
    if (post) snprintf(posted, sizeof posted, "Content-Type: application/json\r\nContent-Length: %zu\r\nIdempotency-Key: %d\r\n", strlen(post), v->session);
    int size = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n%s%s%s%s\r\n%s", post ? "POST" : "GET",
                        target, kind, v->id[0] ? "Last-Event-ID: " : "", v->id, v->id[0] ? "\r\n" : "", posted, post ? post : "");
    if (send(v->fd, text, (size_t)size, MSG_NOSIGNAL) != size) die("send");
    v->phase = HEADERS;
    v->head = malloc(HEAD);
    v->head_size = 0;
}

static void begin(struct viewer *v, int index) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)ports[index % port_count]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    v->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (v->fd < 0) die("socket");
    setsockopt(v->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(v->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLOUT, .data.u32 = (uint32_t)index};
    epoll_ctl(epoll, EPOLL_CTL_ADD, v->fd, &event);
    v->phase = CONNECTING;
    v->waiting = 1, waiting_total++;
}

static void fail(struct viewer *v) {
    closed_by_server++;
    shut(v);
}

static void ready(int index, uint32_t what) {
    struct viewer *v = &viewers[index];
    if (v->phase == CLOSED) return;
    if (v->phase == CONNECTING) {
        if (what & (EPOLLERR | EPOLLHUP)) { fail(v); return; }
        request(v);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
        epoll_ctl(epoll, EPOLL_CTL_MOD, v->fd, &event);
        return;
    }
    ssize_t size = recv(v->fd, buffer, BUFFER, 0);
    if (size > 0) take(v, index, buffer, (size_t)size, now_ns());
    else if (size == 0 || errno != EAGAIN) fail(v);
}

static void open_more(void) {
    while (queue_from < queue_to && (!queue_pending || waiting_total < queue_pending)) begin(&viewers[queue_from], queue_from), queue_from++;
}

/* One round of the loop. Returns whether there is a command to read. */
static int turn(int timeout_ms) {
    static struct epoll_event found[512];
    int command = 0, n = epoll_wait(epoll, found, 512, timeout_ms);
    for (int i = 0; i < n; i++) {
        if (found[i].data.u32 == UINT32_MAX) command = 1;
        else ready((int)found[i].data.u32, found[i].events);
    }
    open_more();
    return command;
}

static int missing_of(const char *what, int from, int to) {
    int missing = 0;
    for (int i = from; i < to; i++) {
        struct viewer *v = &viewers[i];
        if (*what == 'o') missing += v->phase != BODY;
        else if (*what == 'r') missing += !v->reached;
        else missing += v->seq < published[v->session] ? (int)(published[v->session] - v->seq) : 0;
    }
    return missing;
}

static int wait_for(const char *what, int from, int to, long ms) {
    uint64_t deadline = now_ns() + (uint64_t)ms * 1000000u, next_look = 0;
    for (;;) {
        uint64_t now = now_ns();
        if (now >= next_look) {
            int missing = missing_of(what, from, to);
            if (!missing || now > deadline) return missing;
            next_look = now + 2000000;
        }
        turn(2);
    }
}

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_reached(int from, int to, int missing) {
    uint64_t *took = malloc(sizeof *took * (size_t)(to - from + 1)), total = 0;
    int n = 0;
    for (int i = from; i < to; i++) {
        total += viewers[i].bytes;
        if (viewers[i].reached) took[n++] = viewers[i].reached - viewers[i].began;
    }
    qsort(took, (size_t)n, sizeof *took, ascending);
    printf("{\"count\":%d,\"missing\":%d,\"p50_ms\":%.3f,\"slowest_ms\":%.3f,\"bytes\":%llu}\n", n, missing,
           n ? (double)took[n / 2] / 1e6 : 0.0, n ? (double)took[n - 1] / 1e6 : 0.0, (unsigned long long)total);
    free(took);
}

static void print_report(void) {
    printf("{\"events\":%llu,\"bytes\":%llu,\"seconds\":%.6f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%llu}\n",
           (unsigned long long)events, (unsigned long long)bytes, (double)(now_ns() - measured_since) / 1e9, quantile(0.5),
           quantile(0.9), quantile(0.99), quantile(0.999), (unsigned long long)longest);
}

static void start(int from, int to, uint32_t goal, int join, int pending) {
    uint64_t now = now_ns();
    for (int i = from; i < to; i++) {
        struct viewer *v = &viewers[i];
        shut(v);
        memset(v, 0, sizeof *v);
        v->session = i % sessions;
        v->goal = goal;
        v->began = now;
        v->seq = v->kept_seq = join ? published[v->session] : 0;
        v->seen = v->kept_seen = 1;
    }
    queue_from = from, queue_to = to, queue_pending = pending;
    open_more();
}

static void resume(int from, int to) {
    uint64_t now = now_ns();
    for (int i = from; i < to; i++) {
        struct viewer *v = &viewers[i];
        shut(v);
        v->seq = v->kept_seq, v->seen = v->kept_seen, v->bytes = v->kept_bytes;
        v->pending_size = 0;
        v->goal = published[v->session];
        v->began = now;
        v->reached = v->seq >= v->goal ? now : 0;
    }
    queue_from = from, queue_to = to, queue_pending = 0;
    open_more();
}

static void obey(char *line) {
    char what[16] = "";
    int from = 0, to = 0;
    long a = 0, b = 0;
    sscanf(line, "%15s %d %d %ld %ld", what, &from, &to, &a, &b);
    if (!strcmp(what, "open")) start(from, to, (uint32_t)a, 0, (int)b);
    else if (!strcmp(what, "join")) start(from, to, 0, 1, (int)a);
    else if (!strcmp(what, "drop")) for (int i = from; i < to; i++) shut(&viewers[i]);
    else if (!strcmp(what, "resume")) resume(from, to);
    else if (!strcmp(what, "opened")) {
        int missing = wait_for(what, from, to, a);
        printf("{\"count\":%d,\"missing\":%d,\"seconds\":%.6f}\n", to - from, missing, (double)(now_ns() - viewers[from].began) / 1e9);
    } else if (!strcmp(what, "reached")) print_reached(from, to, wait_for(what, from, to, a));
    else if (!strcmp(what, "measure")) {
        measure_from = from, measure_to = to, events = bytes = longest = 0;
        memset(histogram, 0, sizeof histogram);
        measured_since = now_ns();
    } else if (!strcmp(what, "report")) print_report();
    else if (!strcmp(what, "settle")) printf("{\"behind\":%d}\n", wait_for(what, from, to, a));
    else if (!strcmp(what, "verdict"))
        printf("{\"lost\":%llu,\"doubled\":%llu,\"disordered\":%llu,\"closed\":%llu,\"refused\":%llu}\n", (unsigned long long)lost,
               (unsigned long long)doubled, (unsigned long long)disordered, (unsigned long long)closed_by_server, (unsigned long long)refused);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: viewers PORT COUNT SESSIONS PUBLISHED PATH\n"); return 2; }
    count = atoi(argv[2]), sessions = atoi(argv[3]), path = argv[5];
    if (!strncmp(path, "ws:", 3)) websocket = 1, path += 3, name = "{\"id\":\"", name_size = 7;
    if (!strncmp(path, "post:", 5)) {
        path += 5;
        char *space = strchr(path, ' ');
        if (space) *space = 0, post = space + 1;
    }
    for (char *p = strtok(argv[1], ","); p && port_count < 16; p = strtok(NULL, ",")) ports[port_count++] = atoi(p);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int file = open(argv[4], O_RDONLY);
    if (file < 0) die(argv[4]);
    published = mmap(NULL, sizeof *published * (size_t)sessions, PROT_READ, MAP_SHARED, file, 0);
    if (published == MAP_FAILED) die("mmap");
    viewers = calloc((size_t)count, sizeof *viewers);
    epoll = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input)) die("stdin");
    static char commands[65536];
    size_t held = 0;
    for (;;) {
        if (!turn(-1)) continue;
        ssize_t size = read(0, commands + held, sizeof commands - held - 1);
        if (size <= 0) return 0;
        held += (size_t)size;
        commands[held] = 0;
        for (char *end; (end = strchr(commands, '\n'));) {
            *end = 0;
            obey(commands);
            held -= (size_t)(end - commands) + 1;
            memmove(commands, end + 1, held + 1);
        }
    }
}
