template <class T>
void refuse() {
#ifdef MUST_NOT_COMPILE
  static_assert(sizeof(T) == 0, "refused on purpose");
#endif
}

void use();
void use() { refuse<int>(); }
