#include "text/jinja/strftime.h"

#include <fmt/format.h>

#include <ctime>

#include "text/jinja/failure.h"

namespace trireme::text::jinja {

namespace {

constexpr std::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                      "Thursday", "Friday", "Saturday"};
constexpr std::string_view kMonths[] = {"January",   "February", "March",    "April",
                                        "May",       "June",     "July",     "August",
                                        "September", "October",  "November", "December"};

struct Week {
  int year;
  int number;
};

// ISO 8601: a week belongs to the year that has its Thursday.
Week iso_week(const std::tm& t) {
  const int weekday = (t.tm_wday + 6) % 7;  // Monday 0
  const int year = t.tm_year + 1900;
  const int week = (t.tm_yday - weekday + 10) / 7;
  const auto weeks_of = [](int y) {
    const auto p = [](int v) { return (v + v / 4 - v / 100 + v / 400) % 7; };
    return p(y) == 4 || p(y - 1) == 3 ? 53 : 52;
  };
  if (week < 1) return {year - 1, weeks_of(year - 1)};
  if (week > weeks_of(year)) return {year + 1, 1};
  return {year, week};
}

std::string one(char c, const std::tm& t, int64_t seconds) {
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  switch (c) {
    case 'a':
      return std::string(kDays[t.tm_wday].substr(0, 3));
    case 'A':
      return std::string(kDays[t.tm_wday]);
    case 'b':
    case 'h':
      return std::string(kMonths[t.tm_mon].substr(0, 3));
    case 'B':
      return std::string(kMonths[t.tm_mon]);
    case 'c':
      return format_time("%a %b %e %H:%M:%S %Y", seconds);
    case 'C':
      return fmt::format("{:02}", (t.tm_year + 1900) / 100);
    case 'd':
      return fmt::format("{:02}", t.tm_mday);
    case 'D':
    case 'x':
      return format_time("%m/%d/%y", seconds);
    case 'e':
      return fmt::format("{:2}", t.tm_mday);
    case 'f':
      return "000000";
    case 'F':
      return format_time("%Y-%m-%d", seconds);
    case 'G':
      return std::to_string(iso_week(t).year);
    case 'g':
      return fmt::format("{:02}", iso_week(t).year % 100);
    case 'H':
      return fmt::format("{:02}", t.tm_hour);
    case 'I':
      return fmt::format("{:02}", hour12);
    case 'j':
      return fmt::format("{:03}", t.tm_yday + 1);
    case 'k':
      return fmt::format("{:2}", t.tm_hour);
    case 'l':
      return fmt::format("{:2}", hour12);
    case 'm':
      return fmt::format("{:02}", t.tm_mon + 1);
    case 'M':
      return fmt::format("{:02}", t.tm_min);
    case 'n':
      return "\n";
    case 'p':
      return t.tm_hour < 12 ? "AM" : "PM";
    case 'P':
      return t.tm_hour < 12 ? "am" : "pm";
    case 'r':
      return format_time("%I:%M:%S %p", seconds);
    case 'R':
      return format_time("%H:%M", seconds);
    case 's':
      return std::to_string(seconds);
    case 'S':
      return fmt::format("{:02}", t.tm_sec);
    case 't':
      return "\t";
    case 'T':
    case 'X':
      return format_time("%H:%M:%S", seconds);
    case 'u':
      return std::to_string(t.tm_wday == 0 ? 7 : t.tm_wday);
    case 'U':
      return fmt::format("{:02}", (t.tm_yday + 7 - t.tm_wday) / 7);
    case 'V':
      return fmt::format("{:02}", iso_week(t).number);
    case 'w':
      return std::to_string(t.tm_wday);
    case 'W':
      return fmt::format("{:02}", (t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7);
    case 'y':
      return fmt::format("{:02}", (t.tm_year + 1900) % 100);
    case 'Y':
      return std::to_string(t.tm_year + 1900);
    case 'z':
    case 'Z':
      return "";  // a time without a zone
    case '%':
      return "%";
    default:
      return std::string("%") + c;
  }
}

}  // namespace

std::string format_time(std::string_view format, int64_t seconds) {
  if (format.size() > 1024) fail_limit("a date format is longer than 1024 bytes");
  const std::time_t time = seconds;
  std::tm t{};
  if (gmtime_r(&time, &t) == nullptr) fail("the time is out of range");
  std::string out;
  for (size_t at = 0; at < format.size(); ++at) {
    if (format[at] != '%' || at + 1 == format.size()) {
      out += format[at];
      continue;
    }
    ++at;
    if (format[at] == '-' && at + 1 < format.size()) {  // glibc: no padding
      std::string field = one(format[++at], t, seconds);
      size_t zeros = 0;
      while (zeros + 1 < field.size() && (field[zeros] == '0' || field[zeros] == ' ')) ++zeros;
      out += field.substr(zeros);
    } else {
      out += one(format[at], t, seconds);
    }
  }
  return out;
}

}  // namespace trireme::text::jinja
