#include "parallel/wire/curve_keys.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

namespace trireme::wire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = 1 << 20;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

Error cannot(const char* what, const fs::path& path) {
  return failed_precondition(
      fmt::format("cannot {} {}: {}", what, path.string(), std::strerror(errno)));
}

Status make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return cannot("make the folder", folder);
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return cannot("look at", folder);
  if (!S_ISDIR(info.st_mode)) {
    return failed_precondition(fmt::format("{} is not a folder", folder.string()));
  }
  if ((info.st_mode & 077) != 0) {
    return Error{ErrorCode::kPermissionDenied,
                 fmt::format("the key folder {} is open to others (mode {:o}): run chmod 700 on it",
                             folder.string(), info.st_mode & 0777)};
  }
  return {};
}

// The file's text, or not_found.
Result<std::string> read_private_file(const fs::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ENOENT) return not_found(path.string());
    return cannot("read", path);
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return cannot("look at", path);
  if (!S_ISREG(info.st_mode)) {
    return failed_precondition(fmt::format("{} is not a file", path.string()));
  }
  if ((info.st_mode & 077) != 0) {
    return Error{ErrorCode::kPermissionDenied,
                 fmt::format("the key file {} is open to others (mode {:o}): run chmod 600 on it, "
                             "and make new keys if it may have been read",
                             path.string(), info.st_mode & 0777)};
  }
  std::string text(kMaxFileBytes + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + size, text.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot("read", path);
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  if (size > kMaxFileBytes) {
    return data_loss(fmt::format("{} is larger than any key file", path.string()));
  }
  text.resize(size);
  return text;
}

// All of it or nothing: written beside its place, then renamed.
Status write_private_file(const fs::path& path, const std::string& text) {
  const fs::path draft = fmt::format("{}.{}", path.string(), ::getpid());
  ::unlink(draft.c_str());
  {
    const FileDescriptor file(::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.get() < 0) return cannot("write", draft);
    if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::fsync(file.get()) != 0) {
      return cannot("write", draft);
    }
  }
  if (::rename(draft.c_str(), path.c_str()) != 0) return cannot("write", path);
  return {};
}

bool is_key(const std::string& text) {
  std::array<uint8_t, 32> raw{};
  return text.size() == 40 && zmq_z85_decode(raw.data(), text.c_str()) != nullptr;
}

Result<CurvePair> parse_pair(const fs::path& path, const std::string& text) {
  CurvePair pair;
  std::istringstream lines(text);
  std::string word;
  std::string value;
  while (lines >> word >> value) {
    if (word == "public") pair.public_key = value;
    if (word == "secret") pair.secret_key = value;
  }
  // A pair that does not belong together would only show as handshakes that never succeed.
  std::array<char, 41> derived{};
  if (!is_key(pair.public_key) || !is_key(pair.secret_key) ||
      zmq_curve_public(derived.data(), pair.secret_key.c_str()) != 0 ||
      pair.public_key != derived.data()) {
    return data_loss(fmt::format(
        "{} holds no CURVE key pair; remove it, and a new one is made on the next start",
        path.string()));
  }
  return pair;
}

// The pair in the file, which is made first where it is missing. The caller holds the folder's
// lock.
Result<CurvePair> load_or_create_pair(const fs::path& path) {
  Result<std::string> text = read_private_file(path);
  if (text.ok()) return parse_pair(path, *text);
  if (text.error().code != ErrorCode::kNotFound) return text.error();
  ASSIGN_OR_RETURN(CurvePair pair, make_curve_pair());
  TRY(write_private_file(path,
                         fmt::format("public {}\nsecret {}\n", pair.public_key, pair.secret_key)));
  return pair;
}

Result<std::vector<std::string>> load_or_create_allow_list(const fs::path& path,
                                                           const std::string& replica_key) {
  Result<std::string> text = read_private_file(path);
  if (!text.ok() && text.error().code == ErrorCode::kNotFound) {
    text = fmt::format("allow {} made on the first start\n", replica_key);
    TRY(write_private_file(path, *text));
  }
  if (!text.ok()) return text.error();
  std::vector<std::string> keys;
  std::istringstream lines(*text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream words(line);
    std::string verb;
    std::string key;
    if (!(words >> verb) || verb.starts_with('#')) continue;
    words >> key;
    if (verb != "allow" || !is_key(key)) {
      return data_loss(fmt::format("{}, line {}: expected `allow <public key of 40 characters>`",
                                   path.string(), number));
    }
    keys.push_back(key);
  }
  return keys;
}

}  // namespace

Result<CurvePair> make_curve_pair() {
  std::array<char, 41> public_key{};
  std::array<char, 41> secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    return failed_precondition(
        "this machine's ZeroMQ was built without CURVE: install libzmq with libsodium");
  }
  return CurvePair{public_key.data(), secret_key.data()};
}

Result<KeyRing> load_or_create_keys(const std::string& state_dir) {
  if (state_dir.empty()) return invalid_argument("no folder is named for the CURVE keys");
  const fs::path folder = fs::path(state_dir) / "curve";
  TRY(make_folder(folder));
  // One maker at a time; the others then find the files. The lock goes with its descriptor, also
  // when a process dies.
  const FileDescriptor lock(::open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() < 0) return cannot("lock", folder);
  while (::flock(lock.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return cannot("lock", folder);
  }
  ASSIGN_OR_RETURN(const CurvePair router, load_or_create_pair(folder / "router.key"));
  ASSIGN_OR_RETURN(const CurvePair replica, load_or_create_pair(folder / "replica.key"));
  ASSIGN_OR_RETURN(const std::vector<std::string> allowed,
                   load_or_create_allow_list(folder / "allowed_replicas", replica.public_key));
  return KeyRing{.server = {router.public_key, router.secret_key, allowed},
                 .client = {router.public_key, replica.public_key, replica.secret_key}};
}

}  // namespace trireme::wire
