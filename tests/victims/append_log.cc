// A log opened with O_APPEND is appended to, wherever its position is.
#include <fcntl.h>

#include <cstdlib>
#include <string>

#include "victim.h"

int main() {
    victim::arm();
    char path[] = "victim-log-XXXXXX";
    close(mkstemp(path));
    const int log = open(path, O_WRONLY | O_APPEND);
    if (log < 0 || write(log, "before\n", 7) != 7) victim::fail("set-up");
    lseek(log, 0, SEEK_SET);
    victim::wait_for_end();
    if ((fcntl(log, F_GETFL) & O_APPEND) == 0) victim::fail("O_APPEND is lost");
    if (write(log, "after\n", 6) != 6) victim::fail("write");
    char text[64] = {};
    const int reader = open(path, O_RDONLY);
    if (read(reader, text, sizeof(text)) != 13 || std::string(text) != "before\nafter\n") {
        victim::fail("the log holds '%s'", text);
    }
    unlink(path);
    victim::pass();
}
