struct First {
  int value = 0;
};
