void use();
void use() {
  no_such_function();
#ifdef MUST_NOT_COMPILE
  static_assert(sizeof(int) == 0, "refused on purpose");
#endif
}
