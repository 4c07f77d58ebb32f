/* PID 1 of the lab's guest. It starts the writer first, then the network and the rest, and after
 * that listens: to the ACPI power button and to orders from the tenant network. */
#define _GNU_SOURCE
#include "guest.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define BUTTONS 4

static char server[40] = "unknown";
static uint64_t boot;

/* One line on the console in one write, with a checksum: a line torn by a SIGKILL or mixed with
 * another writer's must not pass for an acknowledgement. */
void say(const char *format, ...)
{
    char line[256];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line - 16, format, values);
    va_end(values);
    if (length > (int)sizeof line - 17)
        length = sizeof line - 17;
    length += sprintf(line + length, " #%08x\n", crc32(line, (unsigned long)length));
    if (write(1, line, (size_t)length) != length)
        return; /* there is no other place to complain to */
}

static void read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    if (got > 0) {
        text[got] = 0;
        text[strcspn(text, "\n")] = 0;
    }
    if (fd >= 0)
        close(fd);
}

/* Without output processing a line ends as it was written, and nothing is echoed back. */
static void open_console(void)
{
    struct termios raw;
    int fd = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
    if (fd < 0)
        return;
    if (!tcgetattr(fd, &raw)) {
        cfmakeraw(&raw);
        tcsetattr(fd, TCSANOW, &raw);
    }
    for (int target = 0; target < 3; target++)
        dup2(fd, target);
}

static void load_module(const char *name)
{
    char path[80];
    snprintf(path, sizeof path, "/modules/%s.ko", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
        say("error module %s: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* `list` names modules one a line, dependencies first; the build wrote it. */
static void load_modules(const char *list)
{
    char name[64];
    FILE *names = fopen(list, "re");
    while (names && fscanf(names, "%63s", name) == 1)
        load_module(name);
    if (names)
        fclose(names);
}

static void identify(void)
{
    char id[64] = "";
    read_text("/sys/class/dmi/id/product_uuid", server, sizeof server);
    read_text("/proc/sys/kernel/random/boot_id", id, sizeof id);
    for (const char *digit = id; *digit; digit++)
        if (*digit != '-')
            boot = boot << 4 | (uint64_t)(*digit <= '9' ? *digit - '0' : *digit - 'a' + 10);
    /* boot now holds the last 64 of its 128 bits */
}

static pid_t start_writer(void)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    setpriority(PRIO_PROCESS, 0, -10); /* the first record goes before the rest of the boot */
    writer(server, boot);
    _exit(1);
}

static pid_t start_dhcp(void)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, 0);
    dup2(nothing, 2);
    /* asks three times a second apart, waits one second, and so on until it is answered */
    execl("/busybox", "udhcpc", "-f", "-i", "eth0", "-s", "/init", "-t", "3", "-T", "1", "-A", "1",
          (char *)0);
    _exit(1);
}

static int control_socket(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(CONTROL_PORT)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (void *)&any, sizeof any))
        say("error control: %s", strerror(errno));
    return fd;
}

static int open_buttons(struct pollfd *polled)
{
    int count = 0;
    char path[32];
    for (int n = 0; n < 16 && count < BUTTONS; n++) {
        snprintf(path, sizeof path, "/dev/input/event%d", n);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0)
            polled[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
    return count;
}

static int is_pressed(int button)
{
    struct input_event event;
    int pressed = 0;
    while (read(button, &event, sizeof event) == sizeof event)
        pressed |= event.type == EV_KEY && event.code == KEY_POWER && event.value == 1;
    return pressed;
}

static void crash(void)
{
    int fd = open("/proc/sysrq-trigger", O_WRONLY);
    if (fd < 0 || write(fd, "c", 1) != 1)
        say("error panic: %s", strerror(errno));
}

static void stop(const char *why, int how)
{
    say("stop %s %016" PRIx64, why, boot);
    sync();
    reboot(how);
}

static void obey(const char *order)
{
    usleep(50000); /* the answer must have left the machine before it stops */
    if (!strcmp(order, "panic"))
        crash();
    else if (!strcmp(order, "poweroff"))
        stop(order, RB_POWER_OFF);
    else
        stop(order, RB_AUTOBOOT);
}

/* `status`, or `ORDER BOOTID`. An order names the boot it is for, so that one repeated because
 * its answer was lost does not hit the next boot. */
static void answer(int control)
{
    char text[64], order[16] = "", reply[128];
    unsigned long long wanted = 0;
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t got = recvfrom(control, text, sizeof text - 1, MSG_DONTWAIT, (void *)&from, &size);
    if (got < 0)
        return;
    text[got] = 0;
    sscanf(text, "%15s %16llx", order, &wanted);
    int known = !strcmp(order, "panic") || !strcmp(order, "poweroff") || !strcmp(order, "reboot");
    int mine = known && wanted == boot;
    const char *verdict = !strcmp(order, "status") ? "status" : mine ? "ok" : "refused";
    int length = snprintf(reply, sizeof reply, "%s %016" PRIx64 " %s\n", verdict, boot, server);
    sendto(control, reply, (size_t)length, 0, (void *)&from, size);
    if (mine)
        obey(order);
}

static void serve(pid_t writing, pid_t dhcp)
{
    struct pollfd polled[BUTTONS + 1];
    int buttons = open_buttons(polled + 1);
    polled[0] = (struct pollfd){.fd = control_socket(), .events = POLLIN};
    say("ready buttons=%d", buttons);
    for (;;) {
        poll(polled, (nfds_t)buttons + 1, 1000);
        if (polled[0].revents)
            answer(polled[0].fd);
        for (int n = 1; n <= buttons; n++)
            if (polled[n].revents && is_pressed(polled[n].fd))
                stop("acpi", RB_POWER_OFF);
        for (pid_t gone; (gone = waitpid(-1, NULL, WNOHANG)) > 0;) {
            writing = gone == writing ? start_writer() : writing;
            dhcp = gone == dhcp ? start_dhcp() : dhcp;
        }
    }
}

int main(int argc, char **argv)
{
    if (getpid() != 1)
        return argc > 1 && !strcmp(argv[1], "append") ? append_tool(argc, argv)
                                                      : network_event(argc > 1 ? argv[1] : "");
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    open_console();
    identify();
    load_modules("/modules/first");
    pid_t writing = start_writer();
    load_modules("/modules/then");
    int error = network_up();
    if (error)
        say("error eth0: %s", strerror(-error));
    pid_t dhcp = error ? 0 : start_dhcp();
    load_modules("/modules/last");
    serve(writing, dhcp);
}
